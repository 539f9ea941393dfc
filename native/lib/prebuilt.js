// @ts-check
// The addon that a package of this platform brings compiled, and whether it fits this machine.
import { copyFileSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { sourceHash, usesCxx11Abi } from "./compile.js";
import { glibcVersion, isAtLeast } from "./glibc.js";
import { hash } from "./hash.js";
import { ADDON_FILE, linkLibraries, loadFault } from "./load-addon.js";

/** @typedef {import("./libtorch.js").Libtorch} Libtorch */

/**
 * @typedef {object} PrebuiltFacts what a prebuilt addon asks for: `addon.json` beside it
 * @property {string} libtorch the version that it was compiled against
 * @property {boolean} cxx11Abi the layout of std::string that this libtorch has
 * @property {string} glibc the least version that has all its symbols
 * @property {number} napi the version of Node-API that it uses
 * @property {string} sources hash of `native/src`
 * @property {string} compiler
 */

/** @typedef {{ folder: string, facts: PrebuiltFacts }} Prebuilt */

/** Platforms for which there is a package, as `process.platform`-`process.arch`. */
export const PREBUILT_PLATFORMS = /** @type {const} */ (["linux-x64", "linux-arm64"]);

/** @param {string} platform */
export const prebuiltName = (platform) => `@spo/native-${platform}`;

/**
 * The prebuilt addon of this platform, where the machine has what it asks for; else why it is not used.
 *
 * @returns {{ prebuilt: Prebuilt, reason: null } | { prebuilt: null, reason: string }}
 */
export function findPrebuilt() {
  const name = prebuiltName(`${process.platform}-${process.arch}`);
  const folder = folderOf(name);
  if (!folder) return { prebuilt: null, reason: `${name} is not installed` };
  /** @type {PrebuiltFacts} */
  const facts = JSON.parse(readFileSync(join(folder, "addon.json"), "utf8"));
  const reason = misfit(facts, {
    glibc: glibcVersion(),
    napi: Number(process.versions.napi),
    sources: sourceHash(),
  });
  return reason
    ? { prebuilt: null, reason: `${name} ${reason}` }
    : { prebuilt: { folder, facts }, reason: null };
}

/** @param {string} name */
function folderOf(name) {
  try {
    return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
  } catch {
    return null; // an optional dependency may be missing
  }
}

/**
 * What a machine lacks that a prebuilt addon asks for, or null.
 *
 * @param {PrebuiltFacts} facts
 * @param {{ glibc: string | null, napi: number, sources: string }} machine
 */
export function misfit(facts, { glibc, napi, sources }) {
  if (facts.sources !== sources) return "is of other sources than @spo/native";
  if (!glibc || !isAtLeast(glibc, facts.glibc))
    return `asks for glibc ${facts.glibc}; here is ${glibc ?? "none"}`;
  if (napi < facts.napi) return `asks for Node-API ${facts.napi}; this Node has ${napi}`;
  return null;
}

/**
 * Why a prebuilt addon cannot be used with a libtorch, or null.
 *
 * @param {PrebuiltFacts} facts
 * @param {Libtorch} libtorch
 */
export function libtorchMisfit(facts, libtorch) {
  if (libtorch.version !== facts.libtorch)
    return `the prebuilt addon is for libtorch ${facts.libtorch}; ${libtorch.root} is ${libtorch.version}`;
  if (usesCxx11Abi(libtorch) !== facts.cxx11Abi)
    return `the prebuilt addon has another layout of C++ strings than ${libtorch.root}`;
  return null;
}

/** Changes with the prebuilt addon and with the libtorch that it is to load. @param {Prebuilt} prebuilt @param {Libtorch} libtorch */
export const prebuiltKey = ({ folder }, libtorch) =>
  hash(`${hash(readFileSync(join(folder, ADDON_FILE)))} ${libtorch.fingerprint}`);

/** A prebuilt addon that does not load here, with the loader's words. */
export class DoesNotLoad extends Error {}

/**
 * Puts a prebuilt addon into a folder, with links to a libtorch's libraries, and loads it once with every symbol looked for.
 *
 * @param {Prebuilt} prebuilt
 * @param {Libtorch} libtorch
 * @param {string} folder
 * @returns {Promise<void>} rejected with `DoesNotLoad` where it does not
 */
export async function placePrebuilt(prebuilt, libtorch, folder) {
  const file = join(folder, ADDON_FILE);
  copyFileSync(join(prebuilt.folder, ADDON_FILE), file);
  linkLibraries(libtorch, folder);
  const fault = await loadFault(file, { everySymbol: true });
  if (fault) throw new DoesNotLoad(fault);
}
