// @ts-check
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, relative, sep } from "node:path";
import { PREBUILT_PLATFORMS, prebuiltName } from "../../native/lib/prebuilt.js";
import { run, tail } from "../../native/lib/run.js";
import { root } from "../setup/root.mjs";
import { publishedWorkspaces } from "./workspaces.mjs";

/** @typedef {import("./workspaces.mjs").Manifest} Manifest */

/**
 * `npm pack` of every workspace, as they are published: with LICENSE and NOTICE, without built files whose source is gone.
 *
 * @param {string} out folder that gets the tarballs
 * @returns {Promise<string[]>} their paths, each after those that it depends on
 */
export async function packWorkspaces(out) {
  const stages = mkdtempSync(join(tmpdir(), "spo-pack-"));
  try {
    const folders = publishedWorkspaces().map(({ folder, manifest }, index) => {
      const stage = join(stages, String(index));
      cpSync(folder, stage, { recursive: true, filter: (file) => belongs(folder, file) });
      writeManifest(stage, published(manifest, folder));
      return stage;
    });
    return await packFolders(folders, out);
  } finally {
    rmSync(stages, { recursive: true, force: true });
  }
}

/**
 * `npm pack` of folders that hold all but LICENSE and NOTICE.
 *
 * @param {readonly string[]} folders
 * @param {string} out
 * @returns {Promise<string[]>} the tarballs, in the order of the folders
 */
export async function packFolders(folders, out) {
  for (const folder of folders)
    for (const name of ["LICENSE", "NOTICE"]) cpSync(join(root, name), join(folder, name));
  mkdirSync(out, { recursive: true });
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", out, ...folders];
  const { code, stdout, stderr } = await run("npm", args, { cwd: root });
  if (code !== 0) throw new Error(`npm pack failed.\n${tail(stderr)}`);
  /** @type {{ filename: string }[]} */
  const packed = JSON.parse(stdout);
  return packed.map(({ filename }) => join(out, basename(filename)));
}

/** @param {string} folder @param {object} manifest */
export function writeManifest(folder, manifest) {
  writeFileSync(join(folder, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}

/**
 * A workspace's manifest as the registry gets it. A platform's addon is named here alone: in the clone it is compiled, and `npm ci` would
 * look for packages that may not be published yet.
 *
 * @param {Manifest} manifest
 * @param {string} folder
 */
function published(manifest, folder) {
  const { version } = manifest;
  const addons = Object.fromEntries(PREBUILT_PLATFORMS.map((platform) => [prebuiltName(platform), version]));
  return {
    ...manifest,
    files: [...(manifest.files ?? []), "NOTICE"],
    ...(manifest.name === "@spo/native" && { optionalDependencies: addons }),
    ...repository(relative(root, folder)),
  };
}

/**
 * The field that npm compares with the workflow that publishes; without a workflow there is none.
 *
 * @param {string} directory
 * @returns {{ repository?: { type: "git", url: string, directory: string } }}
 */
export function repository(directory) {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: name } = process.env;
  return server && name ? { repository: { type: "git", url: `git+${server}/${name}.git`, directory } } : {};
}

/** False for node_modules, and for what `tsc` built of a source that has since gone. @param {string} folder @param {string} file */
function belongs(folder, file) {
  const [top, ...rest] = relative(folder, file).split(sep);
  if (top === "node_modules") return false;
  const name = rest.join(sep);
  if (top !== "dist" || !/\.[jt]s(\.map)?$/.test(name)) return true;
  return existsSync(join(folder, "src", name.replace(/(\.d)?\.[jt]s(\.map)?$/, ".ts")));
}
