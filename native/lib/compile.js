// @ts-check
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { which } from "./find-libtorch.js";
import { hash } from "./hash.js";
import { ADDON_FILE, LIBRARY_PATH, linkLibraries, loadFault } from "./load-addon.js";
import { install } from "./packages.js";
import { run, tail } from "./run.js";
import { task } from "./say.js";
import { SetupError } from "./setup-error.js";

/** @typedef {import("./libtorch.js").Libtorch} Libtorch */
/** @typedef {{ command: readonly string[], version: string }} Compiler */

/** Of Node-API, what the sources use. */
export const NAPI_VERSION = 8;

/** The addon's sources. */
export const sourceFolder = fileURLToPath(new URL("../src/", import.meta.url));

/**
 * Compiles the addon against a libtorch, into a folder with links to that libtorch's libraries.
 *
 * @param {Libtorch} libtorch
 * @param {Compiler} compiler
 * @param {string} folder
 */
export async function compileAddon(libtorch, compiler, folder) {
  const progress = task(`compiling the addon against libtorch ${libtorch.version} (half a minute, once)`);
  await compile(libtorch, compiler, join(folder, ADDON_FILE), { tick: () => progress.update() });
  linkLibraries(libtorch, folder);
  const fault = await loadFault(join(folder, ADDON_FILE));
  if (fault)
    throw new SetupError(
      `The compiled addon does not load: ${fault}`,
      `See what is missing with\nldd ${join(libtorch.root, "lib/libtorch_cpu.so")}`,
    );
  progress.done();
}

/** Changes with everything that the compiled addon is made of. @param {Libtorch} libtorch @param {Compiler} compiler */
export const compiledKey = (libtorch, compiler) =>
  hash([sourceHash(), libtorch.fingerprint, compiler.version, ...flagsFor(libtorch)].join("\n"));

/** The first compiler of $CXX, g++, clang++ that can C++20. @returns {Promise<Compiler>} */
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

/** What every library here is compiled with. @param {Libtorch} libtorch */
export function flagsFor(libtorch) {
  return [
    // A product and a sum become one instruction in the kernels.
    ...["-std=c++20", "-O2", "-ffp-contract=fast", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread"],
    `-DNAPI_VERSION=${NAPI_VERSION}`,
    `-D_GLIBCXX_USE_CXX11_ABI=${usesCxx11Abi(libtorch) ? 1 : 0}`,
    `-Wl,-rpath,${LIBRARY_PATH}`,
    // RPATH, not RUNPATH: it also serves libtorch's own dependencies.
    ...["-Wl,--disable-new-dtags", "-Wl,--allow-shlib-undefined"],
    ...[
      "-isystem",
      join(libtorch.root, "include"),
      "-isystem",
      join(libtorch.root, "include/torch/csrc/api/include"),
    ],
  ];
}

/** Which of the two layouts of std::string libtorch was built with: its symbols tell. @param {Libtorch} libtorch */
export const usesCxx11Abi = (libtorch) =>
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

/** What is compiled into one library. @typedef {{ sources: string[], headers: string[], libraries: string[] }} Parts */

/**
 * Compiles a library against a libtorch: the addon, unless other parts are named.
 *
 * @param {Libtorch} libtorch
 * @param {Compiler} compiler
 * @param {string} file
 * @param {{ tick?: () => void, parts?: Parts }} [options] tick: called twice a second. parts: `headers` are folders, those of the checkout
 *   last
 */
export async function compile(
  libtorch,
  { command: [command = "", ...before] },
  file,
  { tick, parts: { sources, headers, libraries } = addonParts() } = {},
) {
  const links = [
    ...libtorch.libraries.map((folder) => `-L${folder}`),
    ...libraries.map((name) => `-l${name}`),
  ];
  // These stand in the checkout: as some of the flags they would give every checkout an addon of its own.
  const includes = [nodeHeaders(), ...headers].flatMap((folder) => ["-isystem", folder]);
  const args = [...before, ...flagsFor(libtorch), ...includes, ...sources, "-o", file, ...links];
  const { code, stderr } = await run(command, args, { tick });
  if (code !== 0) throw compileError(command, args, stderr);
}

/** @returns {Parts} */
const addonParts = () => ({
  sources: filesOf(sourceFolder).filter((file) => file.endsWith(".cc")),
  headers: [join(sourceFolder, "declarations")],
  libraries: ["torch_cpu", "c10"],
});

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
      "Close other programs and run npx spo setup again.",
    );
  }
  const errors = stderr.split("\n").filter((line) => /error|undefined reference/.test(line));
  return new Error(
    `The addon does not compile:\n${tail(errors.join("\n") || stderr)}\nThe command was\n${command} ${args.join(" ")}`,
  );
}

/** Hash of the addon's sources. */
export const sourceHash = () => hashOf(sourceFolder);

/** Hash of all files of a folder, by name and content. @param {string} folder */
export function hashOf(folder) {
  const digest = createHash("sha256");
  for (const file of filesOf(folder)) digest.update(relative(folder, file)).update(readFileSync(file));
  return digest.digest("hex").slice(0, 20);
}

/** @param {string} folder */
const filesOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
