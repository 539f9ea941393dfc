// @ts-check
import { existsSync } from "node:fs";
import { join } from "node:path";
import { PREBUILT_PLATFORMS, prebuiltName } from "../../native/lib/prebuilt.js";

/** @typedef {import("./workspaces.mjs").Manifest} Manifest */

/**
 * What stands against a release, in sentences: versions that differ, or another version than the tag's.
 *
 * @param {readonly Manifest[]} manifests
 * @param {NodeJS.ProcessEnv} env of GitHub's runner
 * @returns {string[]}
 */
export function releaseFaults(manifests, { GITHUB_REF_TYPE, GITHUB_REF_NAME }) {
  const versions = [...new Set(manifests.map(({ version }) => version))];
  if (versions.length !== 1) return [`the packages have several versions: ${versions.join(", ")}`];
  const tag = `v${versions[0]}`;
  return GITHUB_REF_TYPE === "tag" && GITHUB_REF_NAME === tag
    ? []
    : [
        `this is ${GITHUB_REF_NAME ?? "no workflow"}; version ${versions[0]} is published from the tag ${tag}`,
      ];
}

/**
 * The tarballs of the compiled addons that a folder has, and the names of those that it lacks.
 *
 * @param {string} folder
 * @param {string} version
 */
export function addonTarballs(folder, version) {
  const files = PREBUILT_PLATFORMS.map((platform) =>
    join(folder, `${prebuiltName(platform).replace("@", "").replace("/", "-")}-${version}.tgz`),
  );
  return {
    there: files.filter((file) => existsSync(file)),
    missing: files.filter((file) => !existsSync(file)),
  };
}
