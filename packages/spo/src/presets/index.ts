// Settings with a name, by recipe. No tensor code.
import dpoSd15, { type DpoPreset } from "./dpo-sd15.js";
import dpoSdxl from "./dpo-sdxl.js";
import lpoSd15 from "./lpo-sd15.js";
import lpoSdxl from "./lpo-sdxl.js";
import lrmSd15 from "./lrm-sd15.js";
import lrmSdxl from "./lrm-sdxl.js";
import spmSd15, { type SpmPreset } from "./spm-sd15.js";
import spmSdxl from "./spm-sdxl.js";
import spoSd15, { type SpoPreset } from "./spo-sd15.js";
import spoSdxl from "./spo-sdxl.js";

/** Settings of `spo train dpo` by preset. */
export const dpoPresets: Readonly<Record<string, DpoPreset>> = { sd15: dpoSd15, sdxl: dpoSdxl };
/** Settings of `spo train spm` by preset. */
export const spmPresets: Readonly<Record<string, SpmPreset>> = {
  sd15: spmSd15,
  sdxl: spmSdxl,
  "lrm-sd15": lrmSd15,
  "lrm-sdxl": lrmSdxl,
};
/** Settings of `spo train spo` by preset. */
export const spoPresets: Readonly<Record<string, SpoPreset>> = {
  sd15: spoSd15,
  sdxl: spoSdxl,
  "lpo-sd15": lpoSd15,
  "lpo-sdxl": lpoSdxl,
};
