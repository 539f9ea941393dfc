// @ts-check
// What this machine offers: the facts behind `spo doctor` and behind each message of a set-up.
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { statfs } from "node:fs/promises";
import { availableParallelism, cpus, freemem, homedir, totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "./cache-folder.js";
import { findCompiler } from "./compile.js";
import { builtAddon, findLibtorch, findPython, nvidiaDriver, supportedTorch } from "./find-libtorch.js";
import { glibcVersion } from "./glibc.js";
import { nodeIsSupported, nodeRange } from "./node-version.js";
import { install } from "./packages.js";
import { findPrebuilt, prebuiltName } from "./prebuilt.js";
import { currentAddon } from "./set-up.js";
import { pinnedTorch } from "./wheels.js";

/** @typedef {import("./libtorch.js").Check} Check */

/** @returns {Promise<Check[]>} */
export async function environmentChecks() {
  const python = findPython();
  return [
    node(),
    npm(),
    platform(),
    await compiler(),
    ...pythonAndPip(python),
    libtorch(python),
    addon(),
    cpu(),
    cores(),
    memory(),
    await disk(),
    driver(),
    cache(),
    huggingFaceToken(),
    clock(),
  ];
}

/**
 * @param {Check["name"]} name
 * @param {string} found
 * @param {Check["facts"]} facts
 * @returns {Check}
 */
const good = (name, found, facts = {}) => ({ name, ok: true, found, fix: null, facts });

/**
 * @param {Check["name"]} name
 * @param {string} found
 * @param {string} fix
 * @param {Check["facts"]} facts
 * @returns {Check}
 */
const bad = (name, found, fix, facts = {}) => ({ name, ok: false, found, fix, facts });

function node() {
  const facts = {
    version: process.versions.node,
    path: process.execPath,
    napi: Number(process.versions.napi),
  };
  const found = `${process.versions.node} at ${process.execPath}`;
  return nodeIsSupported
    ? good("node", found, facts)
    : bad("node", found, `Install Node ${nodeRange}: nvm install 22`, facts);
}

function npm() {
  const version = spawnSync("npm", ["--version"], { encoding: "utf8", timeout: 20_000 }).stdout?.trim();
  if (version) return good("npm", version, { version });
  return bad("npm", "none on the PATH", "Install the npm that belongs to your Node, or put it on the PATH.");
}

function platform() {
  const facts = { platform: process.platform, arch: process.arch, glibc: glibcVersion() };
  const found = `${process.platform} ${process.arch}, ${facts.glibc ? `glibc ${facts.glibc}` : "no glibc"}`;
  if (process.platform === "linux" && facts.glibc) return good("platform", found, facts);
  return bad(
    "platform",
    found,
    "Use a Linux with glibc (any mainstream distribution, or its container).",
    facts,
  );
}

async function compiler() {
  try {
    const { command, version } = await findCompiler();
    return good("compiler", version, { command: [...command], version });
  } catch (error) {
    const [problem = "", ...rest] = (error instanceof Error ? error.message : String(error)).split("\n");
    const fix = rest.join("\n").trim();
    const without = builtAddon()
      ? "the addon is there"
      : findPrebuilt().prebuilt && `${prebuiltName(`${process.platform}-${process.arch}`)} brings the addon`;
    return without
      ? good("compiler", `none, and none is needed: ${without}`, { command: null })
      : bad("compiler", problem, fix);
  }
}

/** @param {ReturnType<typeof findPython>} python @returns {Check[]} */
function pythonAndPip(python) {
  // Both are only needed to fetch libtorch.
  const needed = !builtAddon() && !process.env.SPO_LIBTORCH;
  /** @param {"python" | "pip"} name @param {string} found @param {string} packages */
  const lacking = (name, found, packages) =>
    needed ? bad(name, found, install(packages)) : good(name, `${found}, and none is needed`);
  if (!python)
    return [lacking("python", "none", "python3 python3-pip"), lacking("pip", "none", "python3-pip")];
  const { version, executable, torch, pip } = python;
  return [
    good("python", `${version} at ${executable}`, { version, path: executable, torch }),
    pip ? good("pip", "there", { there: true }) : lacking("pip", `${executable} has none`, "python3-pip"),
  ];
}

/** @param {ReturnType<typeof findPython>} python @returns {Check} */
function libtorch(python) {
  const name = "libtorch";
  const range = `${supportedTorch.from} to below ${supportedTorch.below}`;
  try {
    const { libtorch, notes } = inUse() ?? findLibtorch();
    if (!libtorch) {
      const found = [`none (supported: ${range})`, ...notes].join("; ");
      return bad(name, found, `npx spo setup  (downloads ${pinnedTorch})`, {
        supported: range,
        torchOfPython: python?.torch ?? null,
      });
    }
    const { version, root, origin, cuda, libraries } = libtorch;
    const nccl = cuda === null ? null : currentAddon()?.nccl;
    const facts = { version, root, origin, cuda, libraries, supported: range, nccl: Boolean(nccl?.library) };
    const without = nccl?.library === null ? nccl.problem : "not set up";
    const exchange = nccl?.library ? "with NCCL" : `without NCCL: ${without}`;
    const forCuda = ` for CUDA ${cuda}, ${exchange}`;
    return good(name, `${version}${cuda ? forCuda : ", CPU only"} at ${root} (${origin})`, facts);
  } catch (error) {
    const [problem = "", ...fix] = (error instanceof Error ? error.message : String(error)).split("\n");
    return bad(name, problem, fix.join("\n").trim());
  }
}

/** The libtorch that the last set-up chose, where it would choose it again; it may have passed over the active Python's. */
function inUse() {
  const record = currentAddon();
  return record && { libtorch: record.libtorch, notes: [] };
}

function addon() {
  const record = builtAddon();
  if (!record) return bad("addon", "not set up", "npx spo setup");
  const facts = {
    path: record.addon,
    key: record.key,
    origin: record.origin,
    whyCompiled: record.whyCompiled,
    compiler: record.compiler,
    libtorch: record.libtorch.version,
  };
  if (!currentAddon())
    return bad(
      "addon",
      `${record.addon} is from other sources, or from when another Python or SPO_LIBTORCH was active`,
      "npx spo setup",
      facts,
    );
  const made =
    record.origin === "prebuilt"
      ? "prebuilt, and it fits"
      : `compiled by ${record.compiler}, as ${record.whyCompiled}`;
  return good("addon", `${record.addon}, ${made}`, facts);
}

function cpu() {
  const text = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";
  const all = new Set((text.match(/^(?:flags|Features)\s*:\s*(.*)$/m)?.[1] ?? "").split(" "));
  const flags = [
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "asimd",
    "sve",
    "bf16",
  ].filter((flag) => all.has(flag));
  const model = cpus()[0]?.model.trim() ?? "unknown";
  return good("cpu", `${model} (${flags.join(" ") || "no vector extensions that libtorch knows"})`, {
    model,
    flags,
  });
}

function cores() {
  const usable = availableParallelism();
  const quota = cgroupCores();
  const count = Math.max(1, Math.min(usable, quota === null ? usable : Math.floor(quota)));
  const facts = { usable, quota, threads: process.env.OMP_NUM_THREADS ?? null };
  const limit = quota !== null && quota < usable ? `, limited to ${quota} by the container` : "";
  return good("cores", `${count} of ${cpus().length}${limit}`, facts);
}

/** CPU share that the container grants, in cores; null without a limit. */
function cgroupCores() {
  const file = "/sys/fs/cgroup/cpu.max";
  const [quota, period] = existsSync(file) ? readFileSync(file, "utf8").trim().split(" ").map(Number) : [];
  return quota && period ? quota / period : null;
}

function memory() {
  const limit = cgroupMemory();
  const total = Math.min(totalmem(), limit ?? Number.POSITIVE_INFINITY);
  const free = Math.min(available(), total);
  const facts = { totalBytes: total, availableBytes: free, limitBytes: limit };
  const found = `${gigabytes(free)} GB free of ${gigabytes(total)} GB`;
  return free > 3e9
    ? good("memory", found, facts)
    : bad("memory", found, "Close other programs: the quickstart uses up to 2.5 GB.", facts);
}

/** Memory limit of the container in bytes, or null. */
function cgroupMemory() {
  const file = "/sys/fs/cgroup/memory.max";
  const bytes = existsSync(file) ? Number(readFileSync(file, "utf8")) : Number.NaN;
  return Number.isFinite(bytes) ? bytes : null;
}

/** Bytes that programs can still get; the page cache counts as free. */
function available() {
  const text = existsSync("/proc/meminfo") ? readFileSync("/proc/meminfo", "utf8") : "";
  const kibibytes = text.match(/^MemAvailable:\s+(\d+)/m)?.[1];
  return kibibytes ? Number(kibibytes) * 1024 : freemem();
}

async function disk() {
  const needed = builtAddon() ? 1 : 2.5;
  const folder = nearestFolder(cacheFolder());
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const facts = { folder, freeBytes: free };
  const found = `${gigabytes(free)} GB free in ${folder}`;
  if (free >= needed * 1e9) return good("disk", found, facts);
  return bad(
    "disk",
    found,
    `Free some (${needed} GB are used), or set XDG_CACHE_HOME to a folder on a larger disk.`,
    facts,
  );
}

function driver() {
  const version = nvidiaDriver();
  return good("nvidia driver", version ?? "none: the CPU is used", { version });
}

function cache() {
  const folder = cacheFolder();
  const file = join(folder, `.probe-${process.pid}`);
  try {
    mkdirSync(folder, { recursive: true });
    const start = performance.now();
    const descriptor = openSync(file, "w");
    try {
      writeSync(descriptor, "probe");
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
      rmSync(file, { force: true });
    }
    const milliseconds = performance.now() - start;
    return good("cache folder", `${folder}, fsync ${milliseconds.toFixed(1)} ms`, {
      folder,
      fsyncMilliseconds: milliseconds,
    });
  } catch (error) {
    return bad(
      "cache folder",
      `${folder}: ${error instanceof Error ? error.message : error}`,
      "Set XDG_CACHE_HOME to a folder that you may write to.",
      { folder },
    );
  }
}

/** Says only whether there is one. */
function huggingFaceToken() {
  const home =
    process.env.HF_HOME ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  const there = Boolean(process.env.HF_TOKEN) || existsSync(process.env.HF_TOKEN_PATH ?? join(home, "token"));
  return good("hugging face token", there ? "there" : "none (only needed for models that ask for one)", {
    there,
  });
}

/** A clock that runs behind breaks downloads (certificates) and builds (file times). */
function clock() {
  const now = new Date();
  const newest = statSync(fileURLToPath(new URL("../package.json", import.meta.url))).mtime;
  const facts = { now: now.toISOString(), timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone };
  if (now >= newest) return good("clock", facts.now, facts);
  return bad(
    "clock",
    `${facts.now} is before the files of this checkout (${newest.toISOString()})`,
    "sudo timedatectl set-ntp true",
    facts,
  );
}

/** @param {string} folder */
function nearestFolder(folder) {
  let existing = folder;
  while (!existsSync(existing)) existing = join(existing, "..");
  return existing;
}

/** @param {number} bytes */
const gigabytes = (bytes) => (bytes / 1e9).toFixed(1);
