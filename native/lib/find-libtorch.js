// @ts-check
// Where libtorch is: SPO_LIBTORCH, the torch of the active Python, or the pinned wheel in the cache. Only Node's own modules are used,
// because a set-up runs before anything is installed.
import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { readAddonRecord } from "./addon-record.js";
import { cacheFolder } from "./cache-folder.js";
import { hash } from "./hash.js";
import { SetupError } from "./setup-error.js";
import { pinnedTorch } from "./wheels.js";

/** @typedef {import("./libtorch.js").Libtorch} Libtorch */
/** @typedef {import("./libtorch.js").AddonRecord} AddonRecord */

export const supportedTorch = /** @type {const} */ ({ from: "2.9", below: "2.16" });

/**
 * @param {{ inPython?: boolean }} [options] false: the torch of the active Python is passed over
 * @returns {{ libtorch: Libtorch | null, notes: string[] }}
 */
export function findLibtorch({ inPython = true } = {}) {
  const asked = process.env.SPO_LIBTORCH;
  if (asked) {
    const { libtorch, reason } = describe(asked, "SPO_LIBTORCH");
    if (!libtorch) {
      throw new SetupError(
        `SPO_LIBTORCH=${asked}: ${reason}.`,
        "Set it to a libtorch folder (with include/ and lib/) or a torch package folder, or unset it.",
      );
    }
    return { libtorch, notes: [] };
  }

  /** @type {string[]} */
  const notes = [];
  const python = inPython ? findPython() : null;
  if (python?.torch) {
    const { libtorch, reason } = describe(python.torch, "python");
    if (libtorch) return { libtorch, notes };
    notes.push(`the torch of ${python.executable} is not used: ${reason}`);
  }
  // One with CUDA serves a machine without as well, but not the other way round.
  for (const cuda of wantsCuda() ? [true] : [false, true]) {
    const { libtorch } = describe(wheelFolder(cuda), "wheel");
    if (libtorch) return { libtorch, notes };
  }
  return { libtorch: null, notes };
}

/** @returns {AddonRecord | null} */
export function builtAddon() {
  const record = readAddonRecord();
  if (!record?.addon || !record.origin || !record.libtorch?.root || !existsSync(record.addon)) return null;
  return fingerprint(record.libtorch.root) === record.libtorch.fingerprint
    ? /** @type {AddonRecord} */ (record)
    : null;
}

/** The folder in the cache that the pinned wheel is unpacked into. @param {boolean} cuda */
export const wheelFolder = (cuda, arch = process.arch) =>
  join(cacheFolder(), `libtorch-${pinnedTorch}-${arch}-${cuda ? "cuda" : "cpu"}`);

/** True when there is an NVIDIA driver, unless SPO_CUDA=0 says to do without; SPO_CUDA=1: for images, built where there is none. */
export const wantsCuda = () =>
  process.env.SPO_CUDA === "1" || (process.env.SPO_CUDA !== "0" && nvidiaDriver() !== null);

/** What tells that there is an NVIDIA driver, or null. */
export function nvidiaDriver() {
  const file = "/proc/driver/nvidia/version";
  if (existsSync(file))
    return readFileSync(file, "utf8").match(/Module\s+(?:for \S+\s+)?([\d.]+)/)?.[1] ?? "yes";
  return which("nvidia-smi") ? "yes" : null;
}

/**
 * Changes when another libtorch would be chosen, found without starting Python: a set-up that has nothing to do takes milliseconds.
 * A torch that is installed later into the same Python is not seen by it; `spo setup --again` looks anew.
 */
export function choiceHash() {
  const parts = ["SPO_LIBTORCH", "VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_VERSION", "PYTHONPATH"].map(
    (v) => process.env[v] ?? "",
  );
  return hash(
    [...parts, which("python3") ?? which("python") ?? "", String(wantsCuda()), cacheFolder()].join("\n"),
  );
}

/** The file that a command name stands for, or null. @param {string} command */
export function which(command) {
  for (const folder of (process.env.PATH ?? "").split(delimiter)) {
    const file = join(folder || ".", command);
    try {
      if (!statSync(file).isFile()) continue;
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // not here: the next folder
    }
  }
  return null;
}

const PYTHON_FACTS = `
import importlib.util, json, sys
try:
    torch = importlib.util.find_spec("torch")
except Exception:
    torch = None
where = list(torch.submodule_search_locations or []) if torch and torch.origin else []
pip = importlib.util.find_spec("pip") is not None
print(json.dumps({"executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3], "torch": where[0] if where else None, "pip": pip}))
`;

/**
 * The active Python, the folder of its torch (found, not imported) and whether it has pip; null without a Python 3.
 * @returns {{ executable: string, version: string, torch: string | null, pip: boolean } | null}
 */
export function findPython() {
  for (const command of ["python3", "python"]) {
    if (!which(command)) continue;
    // In "/", because Python would take a folder named `torch` in the working folder for the package.
    const { status, stdout } = spawnSync(command, ["-c", PYTHON_FACTS], {
      cwd: "/",
      encoding: "utf8",
      timeout: 60_000,
    });
    if (status !== 0) continue;
    const facts = JSON.parse(stdout.trim().split("\n").at(-1) ?? "null");
    if (facts.version.startsWith("3.")) return facts;
  }
  return null;
}

/**
 * What is in a folder that should hold a libtorch, or why it cannot be used.
 * @param {string} folder with include/ and lib/, or with a `torch` folder that has them
 * @param {Libtorch["origin"]} origin
 * @returns {{ libtorch: Libtorch | null, reason: string }}
 */
export function describe(folder, origin) {
  const needed = ["lib/libtorch_cpu.so", "lib/libc10.so", "include/ATen/ATen.h"];
  const found = [folder, join(folder, "torch")].find((root) => existsSync(join(root, needed[0] ?? "")));
  if (!found) return { libtorch: null, reason: `there is no ${needed[0]} in it` };
  const root = realpathSync(found);
  const missing = needed.filter((name) => !existsSync(join(root, name)));
  if (missing.length > 0) return { libtorch: null, reason: `it lacks ${missing.join(", ")}` };

  const version = versionIn(versionHeader(root));
  if (!version) return { libtorch: null, reason: "its torch/version.h does not tell its version" };
  if (!isSupported(version)) {
    const { from, below } = supportedTorch;
    return {
      libtorch: null,
      reason: `its version is ${version}; ${from} or later and below ${below} is supported`,
    };
  }
  return {
    libtorch: {
      root,
      version,
      origin,
      cuda: cudaOf(root),
      libraries: [join(root, "lib"), ...nvidiaFolders(dirname(root))],
      fingerprint: fingerprint(root),
    },
    reason: "",
  };
}

/** The text that defines TORCH_VERSION; where it stands has changed between versions. @param {string} root */
function versionHeader(root) {
  const places = [
    "include/torch/headeronly/version.h",
    "include/torch/csrc/api/include/torch/version.h",
    "include/torch/version.h",
  ];
  return places
    .map((name) => join(root, name))
    .filter(existsSync)
    .map((file) => readFileSync(file, "utf8"))
    .join("\n");
}

/** @param {string} header */
export function versionIn(header) {
  const parts = ["MAJOR", "MINOR", "PATCH"].map(
    (part) => header.match(new RegExp(`#define\\s+TORCH_VERSION_${part}\\s+(\\d+)`))?.[1],
  );
  return parts.includes(undefined) ? null : parts.join(".");
}

/** @param {string} version */
export function isSupported(version) {
  /** @param {string} text */
  const order = (text) =>
    text
      .split(".")
      .slice(0, 2)
      .reduce((sum, part) => sum * 1000 + Number.parseInt(part, 10), 0);
  return order(version) >= order(supportedTorch.from) && order(version) < order(supportedTorch.below);
}

/** @param {string} root */
function cudaOf(root) {
  if (!existsSync(join(root, "lib/libtorch_cuda.so"))) return null;
  const file = join(root, "version.py");
  return (
    (existsSync(file) && readFileSync(file, "utf8").match(/^cuda\b.*=\s*['"]([\d.]+)['"]/m)?.[1]) || "yes"
  );
}

/** Folders of the nvidia-* packages beside a torch package. @param {string} site */
function nvidiaFolders(site) {
  const nvidia = join(site, "nvidia");
  if (!existsSync(nvidia)) return [];
  return readdirSync(nvidia)
    .sort()
    .map((name) => join(nvidia, name, "lib"))
    .filter((folder) => existsSync(folder));
}

/** @param {string} root */
function fingerprint(root) {
  const file = join(root, "lib/libtorch_cpu.so");
  if (!existsSync(file)) return "";
  const { size, mtimeMs } = statSync(file);
  // Whole seconds: the layers of a container's image keep no finer time, and the addon would be compiled at each start.
  return hash(`${file} ${size} ${Math.floor(mtimeMs / 1000)} ${versionIn(versionHeader(root))}`);
}
