// @ts-check
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "./cache-folder.js";
import { describe, findPython, wantsCuda, wheelFolder } from "./find-libtorch.js";
import { glibcVersion } from "./glibc.js";
import { makeFile, makeFolder } from "./half-made.js";
import { withLock } from "./lock.js";
import { install } from "./packages.js";
import { run, tail } from "./run.js";
import { say, task } from "./say.js";
import { SetupError } from "./setup-error.js";
import { pinnedTorch, wheels } from "./wheels.js";

/** @typedef {import("./wheels.js").Wheel} Wheel */

/**
 * Downloads the pinned wheels with pip, checks them and unpacks the needed parts into the cache. A wheel that was downloaded before an
 * interruption is taken up again; each is removed when all are unpacked.
 *
 * @param {readonly Wheel[]} pinned
 * @param {{ arch?: NodeJS.Architecture, cuda?: boolean }} [options] of another machine, to compile for it
 * @returns {Promise<import("./libtorch.js").Libtorch>}
 */
export async function fetchLibtorch(pinned = wheels, { arch = process.arch, cuda = wantsCuda() } = {}) {
  requireSupportedPlatform(arch);
  const target = wheelFolder(cuda, arch);
  const fetch = async () => {
    const already = describe(target, "wheel").libtorch;
    if (already) return already;

    const python = requirePip();
    const chosen = pinned.filter((wheel) => cuda || !wheel.cudaOnly);
    await requireDisk(cacheFolder(), cuda ? 13 : 2.5);
    const downloads = join(cacheFolder(), "downloads");
    mkdirSync(downloads, { recursive: true });

    /** @type {string[]} */
    const files = [];
    for (const wheel of chosen) files.push(await download(python, wheel, downloads, arch));
    await makeFolder(target, async (folder) => {
      await unpack(python, files, folder, cuda);
      const { reason } = describe(folder, "wheel");
      if (reason) throw new Error(`The unpacked wheel cannot be used: ${reason}.`);
    });
    for (const file of files) rmSync(file, { force: true });
    const { libtorch, reason } = describe(target, "wheel");
    if (!libtorch) throw new Error(`${target} cannot be used: ${reason}.`);
    return libtorch;
  };
  return withLock(`${target}.lock`, fetch, {
    onWait: () => say("libtorch: another set-up is fetching it; waiting for that one"),
  });
}

/** @param {string} arch */
function requireSupportedPlatform(arch) {
  const glibc = glibcVersion();
  const enough = glibc !== null && Number(glibc.split(".")[1]) >= 28;
  if (process.platform === "linux" && (arch === "x64" || arch === "arm64") && enough) return;
  const libc = process.platform === "linux" ? `, ${glibc ? `glibc ${glibc}` : "no glibc"}` : "";
  throw new SetupError(
    `There is no libtorch wheel for this machine (${process.platform} ${arch}${libc}); Linux on x86-64 or arm64 with glibc 2.28 or later has one.`,
    "Use such a machine or container, or set SPO_LIBTORCH to a libtorch that was built for this one.",
  );
}

function requirePip() {
  const python = findPython();
  if (!python)
    throw new SetupError(
      "Python 3 was not found; pip is needed to download libtorch.",
      install("python3 python3-pip"),
    );
  if (!python.pip)
    throw new SetupError(
      `${python.executable} has no pip, which is needed to download libtorch.`,
      install("python3-pip"),
    );
  return python.executable;
}

/**
 * @param {string} folder
 * @param {number} gigabytes
 */
async function requireDisk(folder, gigabytes) {
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  const free = (bavail * bsize) / 1e9;
  if (free >= gigabytes) return;
  throw new SetupError(
    `${folder} has ${free.toFixed(1)} GB of disk left; unpacking libtorch takes ${gigabytes} GB for a moment.`,
    "Free some, or set XDG_CACHE_HOME to a folder on a larger disk.",
  );
}

/**
 * @param {string} python
 * @param {Wheel} wheel
 * @param {string} downloads
 * @param {string} arch
 * @returns {Promise<string>} the file, its hash checked
 */
async function download(python, wheel, downloads, arch) {
  const expected = wheel.sha256[arch === "arm64" ? "arm64" : "x64"];
  const target = join(downloads, `${wheel.name}-${wheel.version}-${arch}.whl`);
  if (existsSync(target)) {
    if ((await sha256(target)) === expected) return target;
    rmSync(target);
  }

  const progress = task(`downloading ${wheel.name} ${wheel.version} (${wheel.megabytes} MB)`);
  await makeFile(target, async (place, folder) => {
    const bytes = wheel.megabytes * 1e6;
    const { code, stderr } = await run(python, pipArguments(wheel, folder, arch), {
      cwd: "/",
      // pip keeps no second copy of the wheel, works in our folder instead of a small /tmp, and need not be in a virtual environment.
      env: { TMPDIR: folder, PIP_NO_CACHE_DIR: "1", PIP_REQUIRE_VIRTUALENV: "0", PIP_NO_INPUT: "1" },
      tick: () => progress.update("", Math.min(1, sizeOf(folder) / bytes)),
    });
    const file = readdirSync(folder).find((name) => name.endsWith(".whl"));
    if (code !== 0 || !file) throw pipError(wheel, stderr);
    const actual = await sha256(join(folder, file));
    if (actual !== expected) throw hashError(file, actual, expected);
    renameSync(join(folder, file), place);
  });
  progress.done();
  return target;
}

/**
 * @param {Wheel} wheel
 * @param {string} folder
 * @param {string} arch
 */
function pipArguments({ name, version }, folder, arch) {
  const machine = arch === "arm64" ? "aarch64" : "x86_64";
  const platforms = Array.from({ length: 24 }, (_, i) => `manylinux_2_${28 - i}_${machine}`);
  return [
    ...["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder],
    // One tag for every Python: the libtorch in it is the same, and one hash is enough.
    ...["--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"],
    ...["cp311", "abi3", "none"].flatMap((abi) => ["--abi", abi]),
    ...[...platforms, `manylinux2014_${machine}`].flatMap((platform) => ["--platform", platform]),
    `${name}==${version}`,
  ];
}

/**
 * @param {Wheel} wheel
 * @param {string} stderr
 */
function pipError(wheel, stderr) {
  const what = `pip could not download ${wheel.name} ${wheel.version}.\n${tail(stderr, 4)}`;
  if (/No space left/i.test(stderr)) {
    return new SetupError(what, "Free some disk, or set XDG_CACHE_HOME to a folder on a larger disk.");
  }
  return new SetupError(
    what,
    `Check the network and pip's index settings (python3 -m pip config list) with\npython3 -m pip download --no-deps --dest /tmp ${wheel.name}==${wheel.version}\nthen run npx spo setup again. Or set SPO_LIBTORCH to a libtorch folder.`,
  );
}

/**
 * @param {string} file
 * @param {string} actual
 * @param {string} expected
 */
const hashError = (file, actual, expected) =>
  new SetupError(
    `${file} is not the file that was pinned; it was thrown away.\nsha256 ${actual}\nexpected ${expected}`,
    "Run npx spo setup again; if it stays so, the index that pip uses (python3 -m pip config list) serves another file.",
  );

/**
 * @param {string} python
 * @param {readonly string[]} files
 * @param {string} folder
 * @param {boolean} cuda
 */
async function unpack(python, files, folder, cuda) {
  const script = fileURLToPath(new URL("unpack-wheel.py", import.meta.url));
  const progress = task(`unpacking libtorch ${pinnedTorch} into ${dirname(folder)}`);
  for (const file of files) {
    const onLine = (/** @type {string} */ line) => {
      const [done = 0, all = 1] = line.split(" ").map(Number);
      progress.update("", done / all);
    };
    const { code, stderr } = await run(python, [script, file, folder, cuda ? "cuda" : "cpu"], { onLine });
    if (code === 0) continue;
    if (/No space left|Disk quota/i.test(stderr)) {
      throw new SetupError(
        `The disk of ${dirname(folder)} is full.`,
        "Free some, or set XDG_CACHE_HOME to a folder on a larger disk.",
      );
    }
    throw new Error(`Unpacking failed.\n${tail(stderr)}`);
  }
  progress.done();
}

/** @param {string} file @returns {Promise<string>} */
export async function sha256(file) {
  const digest = createHash("sha256");
  for await (const block of createReadStream(file, { highWaterMark: 1 << 20 })) digest.update(block);
  return digest.digest("hex");
}

/** Bytes of the largest file in a folder that another process is writing. @param {string} folder */
function sizeOf(folder) {
  try {
    const files = readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) =>
      entry.isFile(),
    );
    return Math.max(0, ...files.map((entry) => statSync(join(entry.parentPath, entry.name)).size));
  } catch {
    return 0; // pip has moved or removed one since; only the bar is wrong for a moment
  }
}
