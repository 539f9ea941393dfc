// Settings with a name, by recipe. No tensor code.
import spmSd15, { type SpmPreset } from "./spm-sd15.js";
import spmSdxl from "./spm-sdxl.js";
import spoSd15, { type SpoPreset } from "./spo-sd15.js";
import spoSdxl from "./spo-sdxl.js";

export const spmPresets: Readonly<Record<string, SpmPreset>> = { sd15: spmSd15, sdxl: spmSdxl };
export const spoPresets: Readonly<Record<string, SpoPreset>> = { sd15: spoSd15, sdxl: spoSdxl };
