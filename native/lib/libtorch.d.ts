/** Where libtorch is, what a set-up has built against it, and what this machine offers. No tensor code is loaded by this module. */

/** A libtorch that can be compiled and linked against. */
export interface Libtorch {
  /** Folder with `include/` and `lib/`. */
  root: string;
  version: string;
  origin: "SPO_LIBTORCH" | "python" | "wheel";
  /** CUDA version that it was built for ("13.2", or "yes" where it is not told), or null for a CPU-only one. */
  cuda: string | null;
  /** Folders that hold libtorch and the libraries that it needs, searched in this order. */
  libraries: string[];
  /** Changes when the files do. */
  fingerprint: string;
}

/** What the last set-up made ready: `dist/addon.json` of the package, or a file in the cache where the package is read-only. */
export interface AddonRecord {
  /** Path of the addon. */
  addon: string;
  /** Hash of what the addon is made of: the name of its folder in the cache. */
  key: string;
  /** Whether a package of this platform brought it, or it was compiled here. */
  origin: "prebuilt" | "compiled";
  /** Why the prebuilt one is not used; null when it is. */
  whyCompiled: string | null;
  /** Hash of `native/src`. */
  sources: string;
  compiler: string;
  libtorch: Libtorch;
  /** Hash of what decides which libtorch is chosen: the environment variables, the active Python, the NVIDIA driver. */
  choice: string;
  /** Only with a libtorch for CUDA: the library of NCCL, or why there is none and what mends that. sources: hash of `native/nccl`. */
  nccl?: { sources: string } & ({ library: string } | { library: null; problem: string; fix: string });
}

/** One thing that the product needs or uses. */
export interface Check {
  name:
    | "node"
    | "npm"
    | "platform"
    | "compiler"
    | "python"
    | "pip"
    | "libtorch"
    | "addon"
    | "cpu"
    | "cores"
    | "memory"
    | "disk"
    | "nvidia driver"
    | "cache folder"
    | "hugging face token"
    | "clock";
  /** False when something that the product needs is missing. What is only nice to have is always true. */
  ok: boolean;
  /** What is there, in words, for people. */
  found: string;
  /** The command or sentence that mends it; null when there is nothing to mend. */
  fix: string | null;
  /** The same as numbers and strings, for programs. */
  facts: Record<string, string | number | boolean | null | string[]>;
}

/** A thing is missing that the user can mend. The message names it and ends with the command that mends it. */
export class SetupError extends Error {
  readonly exitCode: 7;
  readonly problem: string;
  readonly fix: string;
  constructor(problem: string, fix: string);
}

/** Versions of libtorch that the addon's sources work with: `from` ≤ version < `below`. */
export const supportedTorch: { readonly from: string; readonly below: string };

/** The version that is downloaded when none is found. */
export const pinnedTorch: string;

/** `$XDG_CACHE_HOME/spo`, by default `~/.cache/spo`. */
export function cacheFolder(): string;

/**
 * The libtorch that a set-up would use without a download, or null. `notes` say what was seen and not taken, and why. Throws a
 * `SetupError` when SPO_LIBTORCH is set and names none. inPython false: the active Python's torch is passed over.
 */
export function findLibtorch(options?: { inPython?: boolean }): {
  libtorch: Libtorch | null;
  notes: string[];
};

/** What the last set-up made ready, or null when there is none or its files are gone. */
export function builtAddon(): AddonRecord | null;

/**
 * Sets the engine up: a libtorch, downloaded where none is found, and an addon that fits it, compiled where none is prebuilt. Nothing is
 * done where all is there. Speaks on stderr. again: looks for libtorch anew. Throws a `SetupError` for what is missing.
 */
export function setUpEngine(options?: { again?: boolean }): Promise<AddonRecord>;

/** The sentence that a set-up ends with. */
export function readyWords(addon: AddonRecord, seconds: number): string;

/** Facts and checks of this machine, in the order of `Check["name"]`. Takes about a second: Python and the compiler are asked. */
export function environmentChecks(): Promise<Check[]>;
