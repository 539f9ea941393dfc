// @ts-check
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fetchLibtorch } from "./fetch-libtorch.js";
import {
  addonRecordFile,
  builtAddon,
  cacheFolder,
  choiceHash,
  findLibtorch,
  hash,
  which,
} from "./find-libtorch.js";
import { makeFile } from "./half-made.js";
import { withLock } from "./lock.js";
import { install } from "./packages.js";
import { run, tail } from "./run.js";
import { say, task } from "./say.js";
import { SetupError } from "./setup-error.js";

/** @typedef {import("./libtorch.js").Libtorch} Libtorch */
/** @typedef {import("./libtorch.js").AddonRecord} AddonRecord */

const sourceFolder = fileURLToPath(new URL("../src/", import.meta.url));

/** The addon that fits the sources and the environment as they are now, or null: then `buildAddon` has something to do. */
export function currentAddon() {
  const record = builtAddon();
  return record && record.sources === sourceHash() && record.choice === choiceHash() ? record : null;
}

/**
 * Finds libtorch (or fetches it), compiles the addon against it unless the cache has it, and records where it is.
 * @returns {Promise<AddonRecord>}
 */
export async function buildAddon() {
  const found = findLibtorch();
  for (const note of found.notes) say(`libtorch: ${note}`);
  const libtorch = found.libtorch ?? (await fetchLibtorch());
  const compiler = await findCompiler();
  const sources = sourceHash();
  const flags = compilerFlags(libtorch);
  const key = hash([sources, libtorch.fingerprint, compiler.version, ...flags].join("\n"));
  const addon = join(cacheFolder(), `addon-${key}`, "spo.node");

  await withLock(
    `${dirname(addon)}.lock`,
    async () => {
      if (existsSync(addon)) return;
      await makeFile(addon, (file) => compile(compiler.command, flags, libtorch, file));
    },
    { onWait: () => say("addon: another set-up is compiling it; waiting for that one") },
  );

  /** @type {AddonRecord} */
  const record = { addon, key, sources, compiler: compiler.version, libtorch, choice: choiceHash() };
  mkdirSync(dirname(addonRecordFile), { recursive: true });
  const temporary = `${addonRecordFile}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(record, null, 2)}\n`);
  renameSync(temporary, addonRecordFile);
  return record;
}

/** The first compiler of $CXX, g++, clang++ that can C++20. @returns {Promise<{ command: string[], version: string }>} */
export async function findCompiler() {
  const asked = process.env.CXX?.trim();
  const problems = [];
  for (const text of asked ? [asked] : ["g++", "clang++"]) {
    const command = text.split(/\s+/);
    const name = command[0] ?? "";
    if (!which(name) && !existsSync(name)) continue;
    const { code, stdout } = await run(name, [...command.slice(1), "--version"]);
    const version = stdout.split("\n")[0] ?? "";
    const least = /clang/.test(version) ? 14 : 11;
    const major = Number(version.match(/(\d+)\.\d+(\.\d+)?/)?.[1] ?? 0);
    if (code === 0 && major >= least) return { command, version };
    problems.push(
      `${text} is ${version || "not working"}; ${/clang/.test(version) ? "clang++" : "g++"} ${least} or later is needed`,
    );
  }
  if (asked)
    throw new SetupError(
      `CXX=${asked} is no C++20 compiler. ${problems.join(". ")}`.trim(),
      "Set CXX to one, or unset it.",
    );
  throw new SetupError(
    problems.length > 0
      ? `The C++ compiler is too old: ${problems.join("; ")}.`
      : "A C++ compiler was not found; it is needed once, to compile the engine's addon.",
    install("g++"),
  );
}

/** @param {Libtorch} libtorch */
function compilerFlags(libtorch) {
  return [
    ...["-std=c++20", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread"],
    `-D_GLIBCXX_USE_CXX11_ABI=${usesCxx11Abi(libtorch) ? 1 : 0}`,
    ...[
      "-isystem",
      join(libtorch.root, "include"),
      "-isystem",
      join(libtorch.root, "include/torch/csrc/api/include"),
    ],
  ];
}

/** Which of the two layouts of std::string libtorch was built with: its symbols tell. @param {Libtorch} libtorch */
const usesCxx11Abi = (libtorch) =>
  readFileSync(join(libtorch.root, "lib/libc10.so")).includes("NSt7__cxx1112basic_string");

function nodeHeaders() {
  const besideNode = join(dirname(dirname(process.execPath)), "include/node");
  try {
    return join(dirname(createRequire(import.meta.url).resolve("node-api-headers/package.json")), "include");
  } catch (error) {
    if (existsSync(join(besideNode, "node_api.h"))) return besideNode;
    throw new SetupError(
      "Node's headers (node_api.h) were not found.",
      `npm ci --ignore-scripts\n(${error})`,
    );
  }
}

/**
 * @param {readonly string[]} compiler
 * @param {readonly string[]} flags
 * @param {Libtorch} libtorch
 * @param {string} file
 */
async function compile([command = "", ...before], flags, libtorch, file) {
  const progress = task(`compiling the addon against libtorch ${libtorch.version} (half a minute, once)`);
  const libraries = [
    ...libtorch.libraries.flatMap((folder) => [`-L${folder}`, `-Wl,-rpath,${folder}`]),
    // RPATH, not RUNPATH: it also serves libtorch's own dependencies.
    ...["-Wl,--disable-new-dtags", "-Wl,--allow-shlib-undefined", "-ltorch_cpu", "-lc10"],
  ];
  // Node's headers stand in the checkout: as one of the flags they would give every checkout an addon of its own.
  const args = [...before, ...flags, "-isystem", nodeHeaders(), ...sourceFiles(), "-o", file, ...libraries];
  const { code, stderr } = await run(command, args, { tick: () => progress.update() });
  if (code !== 0) throw compileError(command, args, stderr);

  const load = await run(process.execPath, ["-e", "require(process.argv[1])", file]);
  if (load.code !== 0) {
    throw new SetupError(
      `The compiled addon does not load: ${load.stderr.match(/^\w*Error: (.*)$/m)?.[1] ?? tail(load.stderr, 8)}`,
      `See what is missing with\nldd ${join(libtorch.root, "lib/libtorch_cpu.so")}`,
    );
  }
  progress.done();
}

/**
 * @param {string} command
 * @param {readonly string[]} args
 * @param {string} stderr
 */
function compileError(command, args, stderr) {
  if (/No space left/i.test(stderr)) {
    return new SetupError(
      "The disk is full: the compiler could not write.",
      "Free some, or set XDG_CACHE_HOME and TMPDIR to folders on a larger disk.",
    );
  }
  if (/Killed|out of memory|cannot allocate/i.test(stderr)) {
    return new SetupError(
      "The compiler ran out of memory; it needs about 2 GB.",
      "Close other programs and run npm run setup again.",
    );
  }
  const errors = stderr.split("\n").filter((line) => /error|undefined reference/.test(line));
  return new Error(
    `The addon does not compile:\n${tail(errors.join("\n") || stderr)}\nThe command was\n${command} ${args.join(" ")}`,
  );
}

const sourceFiles = () =>
  readdirSync(sourceFolder)
    .filter((name) => name.endsWith(".cc"))
    .sort()
    .map((name) => join(sourceFolder, name));

function sourceHash() {
  const digest = createHash("sha256");
  for (const name of readdirSync(sourceFolder).sort())
    digest.update(name).update(readFileSync(join(sourceFolder, name)));
  return digest.digest("hex").slice(0, 20);
}
