// @ts-check
// The set-up of the engine: a libtorch, and an addon that fits it. Used by the clone's set-up, the command and `npx @spo/native` alike.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { forgetAddonRecord, writeAddonRecord } from "./addon-record.js";
import { cacheFolder } from "./cache-folder.js";
import { compileAddon, compiledKey, findCompiler, sourceHash } from "./compile.js";
import { fetchLibtorch } from "./fetch-libtorch.js";
import { builtAddon, choiceHash, findLibtorch } from "./find-libtorch.js";
import { makeFolder } from "./half-made.js";
import { ADDON_FILE } from "./load-addon.js";
import { withLock } from "./lock.js";
import { NCCL_FILE, ncclFault, ncclKey, ncclSourceHash, placeNccl } from "./nccl-library.js";
import { DoesNotLoad, findPrebuilt, libtorchMisfit, placePrebuilt, prebuiltKey } from "./prebuilt.js";
import { say } from "./say.js";
import { SetupError } from "./setup-error.js";

/** @typedef {import("./libtorch.js").Libtorch} Libtorch */
/** @typedef {import("./libtorch.js").AddonRecord} AddonRecord */
/** @typedef {import("./prebuilt.js").Prebuilt} Prebuilt */
/** @typedef {Pick<AddonRecord, "addon" | "key" | "origin" | "compiler" | "whyCompiled">} Addon */

/** The addon that fits the sources and the environment as they are now, or null: then `setUpEngine` has something to do. */
export function currentAddon() {
  const record = builtAddon();
  const isCurrent =
    record?.sources === sourceHash() &&
    record.choice === choiceHash() &&
    (record.libtorch.cuda === null || record.nccl?.sources === ncclSourceHash());
  return isCurrent ? record : null;
}

/**
 * Finds libtorch (or fetches it), takes the prebuilt addon where it fits, else compiles one unless the cache has it, and records where it
 * is. Speaks on stderr, and only of what takes time or is unexpected.
 *
 * @param {{ again?: boolean }} [options] again: looks for libtorch anew, though the last one found is still there
 * @returns {Promise<AddonRecord>}
 */
export async function setUpEngine({ again = false } = {}) {
  if (again) forgetAddonRecord();
  const current = currentAddon();
  if (current) return current;

  const found = findPrebuilt();
  if (!found.prebuilt) await compilerAs(found.reason); // whoever has none is told before a long download
  const libtorch = await chooseLibtorch(found.prebuilt);
  const addon = await addonFor(libtorch, found);
  const nccl = libtorch.cuda === null ? undefined : await ncclFor(libtorch);
  const record = { ...addon, sources: sourceHash(), libtorch, choice: choiceHash(), nccl };
  writeAddonRecord(record);
  return record;
}

/** @param {Prebuilt | null} prebuilt */
async function chooseLibtorch(prebuilt) {
  const { libtorch, notes } = findLibtorch();
  for (const note of notes) say(`libtorch: ${note}`);
  const misfit = libtorch?.origin === "python" && prebuilt && libtorchMisfit(prebuilt.facts, libtorch);
  if (!misfit || (await hasCompiler())) return libtorch ?? (await fetchLibtorch());
  say(`libtorch: ${misfit}, and there is no C++ compiler to make one for it; PyTorch's wheel is taken`);
  return findLibtorch({ inPython: false }).libtorch ?? (await fetchLibtorch());
}

const hasCompiler = () =>
  findCompiler().then(
    () => true,
    () => false,
  );

/**
 * @param {Libtorch} libtorch
 * @param {ReturnType<typeof findPrebuilt>} found
 * @returns {Promise<Addon>}
 */
async function addonFor(libtorch, { prebuilt, reason }) {
  const misfit = prebuilt ? libtorchMisfit(prebuilt.facts, libtorch) : reason;
  if (!prebuilt || misfit) return compiled(libtorch, misfit ?? "");
  try {
    const key = prebuiltKey(prebuilt, libtorch);
    const addon = await inCache(key, (folder) => placePrebuilt(prebuilt, libtorch, folder));
    return { addon, key, origin: "prebuilt", compiler: prebuilt.facts.compiler, whyCompiled: null };
  } catch (error) {
    if (!(error instanceof DoesNotLoad)) throw error;
    return compiled(libtorch, `the prebuilt addon does not load here: ${error.message}`);
  }
}

/**
 * @param {Libtorch} libtorch
 * @param {string} whyCompiled
 * @returns {Promise<Addon>}
 */
async function compiled(libtorch, whyCompiled) {
  const compiler = await compilerAs(whyCompiled);
  if (isUnexpected(whyCompiled)) say(`addon: ${whyCompiled}; it is compiled here`);
  const key = compiledKey(libtorch, compiler);
  const addon = await inCache(key, (folder) => compileAddon(libtorch, compiler, folder));
  return { addon, key, origin: "compiled", compiler: compiler.version, whyCompiled };
}

/** In a clone no prebuilt addon is installed, so nothing is said of it. @param {string} whyCompiled */
const isUnexpected = (whyCompiled) => !whyCompiled.endsWith("is not installed");

/** The compiler; where there is none, the fault tells why the prebuilt addon is not used. @param {string} whyCompiled */
async function compilerAs(whyCompiled) {
  try {
    return await findCompiler();
  } catch (error) {
    if (!(error instanceof SetupError) || !isUnexpected(whyCompiled)) throw error;
    throw new SetupError(`${error.problem.replace(/\.$/, "")}: ${whyCompiled}.`, error.fix);
  }
}

/**
 * NCCL's library, or why there is none: a GPU is of use without it.
 *
 * @param {Libtorch} libtorch
 * @returns {Promise<NonNullable<AddonRecord["nccl"]>>}
 */
async function ncclFor(libtorch) {
  const sources = ncclSourceHash();
  try {
    const fault = ncclFault(libtorch);
    if (fault) throw fault;
    const compiler = await findCompiler();
    const key = ncclKey(libtorch, compiler);
    const library = await inCache(key, (folder) => placeNccl(libtorch, compiler, folder), "nccl", NCCL_FILE);
    return { library, sources };
  } catch (error) {
    const { message } = /** @type {Error} */ (error);
    const [problem, fix] =
      error instanceof SetupError ? [error.problem, error.fix] : [message, "npx spo setup --again"];
    say(`NCCL: ${problem} Several GPUs exchange gradients over the CPU's memory until then.`);
    return { library: null, problem, fix, sources };
  }
}

/**
 * The addon of a key, or another library, made when the cache has none.
 *
 * @param {string} key
 * @param {(folder: string) => Promise<void>} make
 */
async function inCache(key, make, name = "addon", file = ADDON_FILE) {
  const folder = join(cacheFolder(), `${name}-${key}`);
  const made = join(folder, file);
  await withLock(`${folder}.lock`, async () => existsSync(made) || (await makeFolder(folder, make)), {
    onWait: () => say(`${name}: another set-up is making it; waiting for that one`),
  });
  return made;
}
