// @ts-check
// Packs the addon of this machine, compiled for the pinned libtorch: node scripts/pack-addon.mjs [--arch x64|arm64] [--out FOLDER]
// For the other architecture CXX names a cross compiler, as in CXX=aarch64-linux-gnu-g++ node scripts/pack-addon.mjs --arch arm64
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { packAddon } from "./pack/pack-addon.mjs";
import { root } from "./setup/root.mjs";

const { values } = parseArgs({
  options: {
    arch: { type: "string", default: process.arch },
    out: { type: "string", default: join(root, "dist/packages") },
  },
});
console.log(await packAddon(/** @type {NodeJS.Architecture} */ (values.arch), resolve(values.out)));
