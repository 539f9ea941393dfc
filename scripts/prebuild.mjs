// @ts-check
// Packs the addon of this machine, compiled for the pinned libtorch: node scripts/prebuild.mjs [--arch x64|arm64] [--out FOLDER]
// For the other architecture CXX names a cross compiler, as in CXX=aarch64-linux-gnu-g++ node scripts/prebuild.mjs --arch arm64
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { packPrebuilt } from "./pack/prebuilt-package.mjs";
import { root } from "./setup/root.mjs";

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: process.arch },
    out: { type: "string", default: join(root, "dist/packages") },
  },
});
console.log(await packPrebuilt(/** @type {NodeJS.Architecture} */ (values.arch), resolve(values.out)));
