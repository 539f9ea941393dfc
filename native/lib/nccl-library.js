// @ts-check
// The library of NCCL: what it needs of a libtorch, and how it is compiled.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, flagsFor, hashOf, sourceFolder, sourceHash } from "./compile.js";
import { hash } from "./hash.js";
import { linkLibraries, loadFault } from "./load-addon.js";
import { task } from "./say.js";
import { SetupError } from "./setup-error.js";

/** @typedef {import("./libtorch.js").Libtorch} Libtorch */
/** @typedef {import("./compile.js").Compiler} Compiler */

export const NCCL_FILE = "spo_nccl.node";

const folderOfSources = fileURLToPath(new URL("../nccl/", import.meta.url));

/** Headers that it includes, by the packages of pip that bring them. */
const HEADERS = /** @type {const} */ ({
  "nccl.h": "nvidia-nccl-cu13",
  "cuda_runtime_api.h": "nvidia-cuda-runtime",
  "nv/target": "nvidia-cuda-cccl",
  "cublas_v2.h": "nvidia-cublas",
  "cusparse.h": "nvidia-cusparse",
  "cusolverDn.h": "nvidia-cusolver",
});

/** Hash of all that it is compiled from: it shares headers with the addon. */
export const ncclSourceHash = () => hash(`${hashOf(folderOfSources)} ${sourceHash()}`);

/** Changes with everything that the library is made of. @param {Libtorch} libtorch @param {Compiler} compiler */
export const ncclKey = (libtorch, compiler) =>
  hash([ncclSourceHash(), libtorch.fingerprint, compiler.version, ...flagsFor(libtorch)].join("\n"));

/**
 * Why it cannot be compiled against a libtorch, and what mends that; null where it can.
 *
 * @param {Libtorch} libtorch
 */
export function ncclFault(libtorch) {
  const { root, version, origin } = libtorch;
  if (libtorch.cuda === null)
    return new SetupError(`The libtorch at ${root} has no CUDA.`, "SPO_CUDA=1 npx spo setup --again");
  // The classes that it makes have the layout of this version.
  if (!version.startsWith("2.15."))
    return new SetupError(
      `NCCL is used with libtorch 2.15; ${root} is ${version}.`,
      "python3 -m pip install torch==2.15.0",
    );
  const folders = headerFolders(libtorch);
  const missing = Object.entries(HEADERS).filter(
    ([name]) => !folders.some((folder) => existsSync(join(folder, name))),
  );
  if (missing.length === 0) return null;
  const packages = missing.map(([, name]) => name).join(" ");
  return new SetupError(
    `NCCL's library is not built: ${missing.map(([name]) => name).join(", ")} ${missing.length === 1 ? "is" : "are"} not beside the libtorch at ${root}.`,
    origin === "wheel"
      ? `rm -r ${dirname(root)}\nnpx spo setup --again\nIt unpacks the headers too.`
      : `python3 -m pip install ${packages}\nnpx spo setup --again\nThe packages must be beside that torch, as pip puts them.`,
  );
}

/**
 * Compiles it into a folder, with links to that libtorch's libraries.
 *
 * @param {Libtorch} libtorch
 * @param {Compiler} compiler
 * @param {string} folder
 */
export async function placeNccl(libtorch, compiler, folder) {
  const progress = task(
    `compiling NCCL's library against libtorch ${libtorch.version} (half a minute, once)`,
  );
  const file = join(folder, NCCL_FILE);
  await compile(libtorch, compiler, file, {
    tick: () => progress.update(),
    parts: {
      sources: [join(folderOfSources, "nccl.cc")],
      // NVIDIA's own come first, where they are there.
      headers: [sourceFolder, ...headerFolders(libtorch), join(folderOfSources, "declarations")],
      libraries: ["torch_cuda", "torch_cpu", "c10_cuda", "c10"],
    },
  });
  linkLibraries(libtorch, folder);
  const fault = await loadFault(file);
  if (fault) throw new Error(`NCCL's library does not load: ${fault}`);
  progress.done();
}

/** Folders of headers beside those of libraries. @param {Libtorch} libtorch */
const headerFolders = ({ libraries }) =>
  libraries.map((folder) => join(dirname(folder), "include")).filter((folder) => existsSync(folder));
