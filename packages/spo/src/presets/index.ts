// Settings with a name, by recipe. No tensor code.
import dpoFlux from "./dpo-flux-dev.js";
import dpoSd15, { type DpoPreset } from "./dpo-sd15.js";
import dpoSd35 from "./dpo-sd35-medium.js";
import dpoSdxl from "./dpo-sdxl.js";
import { fluxIn24, sd15In8, sd15In12, sd35In12, sdxlIn16, sdxlIn24, spmIn12 } from "./low-memory.js";
import lpoSd15 from "./lpo-sd15.js";
import lpoSdxl from "./lpo-sdxl.js";
import lrmSd15 from "./lrm-sd15.js";
import lrmSdxl from "./lrm-sdxl.js";
import spmSd15, { type SpmPreset } from "./spm-sd15.js";
import spmSdxl from "./spm-sdxl.js";
import spoFlux from "./spo-flux-dev.js";
import spoSd15, { type SpoPreset } from "./spo-sd15.js";
import spoSd35 from "./spo-sd35-medium.js";
import spoSdxl from "./spo-sdxl.js";

/** Settings of `spo train dpo` by preset. */
export const dpoPresets: Readonly<Record<string, DpoPreset>> = {
  sd15: dpoSd15,
  sdxl: dpoSdxl,
  "sd35-medium": dpoSd35,
  "flux-dev": dpoFlux,
};
/** Settings of `spo train spm` by preset. */
export const spmPresets: Readonly<Record<string, SpmPreset>> = {
  sd15: spmSd15,
  sdxl: spmSdxl,
  "lrm-sd15": lrmSd15,
  "lrm-sdxl": lrmSdxl,
  "sd15-12gb": spmIn12,
};
/** Settings of `spo train spo` by preset. */
export const spoPresets: Readonly<Record<string, SpoPreset>> = {
  sd15: spoSd15,
  sdxl: spoSdxl,
  "lpo-sd15": lpoSd15,
  "lpo-sdxl": lpoSdxl,
  "sd35-medium": spoSd35,
  "flux-dev": spoFlux,
  "sd15-8gb": sd15In8,
  "sd15-12gb": sd15In12,
  "sdxl-16gb": sdxlIn16,
  "sdxl-24gb": sdxlIn24,
  "sd35-medium-12gb": sd35In12,
  "flux-dev-24gb": fluxIn24,
};
