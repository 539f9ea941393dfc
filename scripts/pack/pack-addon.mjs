// @ts-check
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, findCompiler, NAPI_VERSION, sourceHash, usesCxx11Abi } from "../../native/lib/compile.js";
import { fetchLibtorch } from "../../native/lib/fetch-libtorch.js";
import { isAtLeast } from "../../native/lib/glibc.js";
import { ADDON_FILE } from "../../native/lib/load-addon.js";
import { PREBUILT_PLATFORMS, prebuiltName } from "../../native/lib/prebuilt.js";
import { run, tail } from "../../native/lib/run.js";
import { setUpEngine } from "../../native/lib/set-up.js";
import { SetupError } from "../../native/lib/setup-error.js";
import { pinnedTorch, wheels } from "../../native/lib/wheels.js";
import { root } from "../setup/root.mjs";
import { packFolders, repository, writeManifest } from "./pack-workspaces.mjs";
import { manifestOf } from "./workspaces.mjs";

/** @typedef {import("../../native/lib/prebuilt.js").PrebuiltFacts} PrebuiltFacts */
/** @typedef {typeof PREBUILT_PLATFORMS[number]} Platform */

/** @param {string} arch @returns {Platform} */
export function platformOf(arch) {
  const platform = PREBUILT_PLATFORMS.find((each) => each === `linux-${arch}`);
  if (!platform)
    throw new SetupError(`No addon is built for ${arch}.`, `Use one of ${PREBUILT_PLATFORMS.join(", ")}.`);
  return platform;
}

/**
 * Packs the addon of a platform, compiled against the pinned libtorch: of this machine, or of another one by a cross compiler in CXX.
 *
 * @param {NodeJS.Architecture} arch
 * @param {string} out folder that gets the tarball
 * @returns {Promise<string>} its path
 */
export async function packAddon(arch, out) {
  const platform = platformOf(arch);
  const stage = mkdtempSync(join(tmpdir(), "spo-prebuilt-"));
  try {
    const facts = await build(arch, join(stage, ADDON_FILE));
    writeFileSync(join(stage, "addon.json"), `${JSON.stringify(facts, null, 2)}\n`);
    writeFileSync(
      join(stage, "README.md"),
      `# ${prebuiltName(platform)}\n\nThe addon of \`@spo/native\`, compiled for libtorch ${facts.libtorch} on ${platform}. It is installed by itself where it fits.\n`,
    );
    writeManifest(stage, platformManifest(platform));
    return (await packFolders([stage], out))[0] ?? "";
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** The manifest of a platform's package: that of `@spo/native`, as far as the two are alike. @param {Platform} platform */
export function platformManifest(platform) {
  const { version, license, engines, publishConfig } = manifestOf(join(root, "native"));
  const [os, cpu] = platform.split("-");
  return {
    name: prebuiltName(platform),
    version,
    description: `The compiled addon of @spo/native for ${platform}`,
    license,
    engines,
    ...{ os: [os], cpu: [cpu], libc: ["glibc"] },
    files: [ADDON_FILE, "addon.json", "NOTICE"],
    publishConfig,
    ...repository("native"),
  };
}

/** @param {NodeJS.Architecture} arch @param {string} file @returns {Promise<PrebuiltFacts>} */
async function build(arch, file) {
  let libtorch;
  let compiler;
  if (arch === process.arch) {
    const record = await setUpEngine();
    libtorch = record.libtorch;
    compiler = record.compiler;
    copyFileSync(record.addon, file);
  } else {
    libtorch = await fetchLibtorch(wheels, { arch, cuda: false });
    const found = await findCompiler();
    compiler = found.version;
    await compile(libtorch, found, file);
  }
  if (libtorch.version !== pinnedTorch)
    throw new SetupError(
      `An addon is published for libtorch ${pinnedTorch}; ${libtorch.root} is ${libtorch.version}.`,
      "Unset SPO_LIBTORCH, leave the Python that has this torch, and run it again.",
    );
  return {
    libtorch: pinnedTorch,
    cxx11Abi: usesCxx11Abi(libtorch),
    glibc: await leastGlibc(file),
    napi: NAPI_VERSION,
    sources: sourceHash(),
    compiler,
  };
}

/** The newest glibc whose symbols a library asks for. @param {string} file */
async function leastGlibc(file) {
  const { code, stdout, stderr } = await run("readelf", ["--version-info", "--wide", file]);
  if (code !== 0) throw new Error(`readelf failed.\n${tail(stderr)}`);
  return glibcIn(stdout);
}

/** @param {string} versionInfo what readelf says of a library's symbol versions */
export function glibcIn(versionInfo) {
  const versions = [...versionInfo.matchAll(/\bGLIBC_(\d+(?:\.\d+)+)/g)].map(([, version = ""]) => version);
  return versions.reduce((newest, each) => (isAtLeast(each, newest) ? each : newest), "2.0");
}
