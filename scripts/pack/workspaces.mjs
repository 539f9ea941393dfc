// @ts-check
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../setup/root.mjs";
import { workspaces } from "../setup/workspaces.mjs";

/**
 * @typedef {object} Manifest the part of a package.json that is looked at here
 * @property {string} name
 * @property {string} version
 * @property {string} [license]
 * @property {Record<string, string>} [dependencies]
 * @property {Record<string, string>} [optionalDependencies]
 * @property {Record<string, string | { types: string, default: string }>} [exports]
 * @property {{ node: string }} [engines]
 * @property {boolean} [private]
 * @property {string[]} [files]
 * @property {Record<string, unknown>} [publishConfig]
 */

/** @param {string} folder @returns {Manifest} */
export const manifestOf = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));

/**
 * The workspaces that are published: all but private ones, each after those that it depends on.
 *
 * @returns {{ folder: string, manifest: Manifest }[]} folder: its absolute path
 */
export function publishedWorkspaces() {
  const all = workspaces(root)
    .map((folder) => ({ folder, manifest: manifestOf(folder) }))
    .filter(({ manifest }) => !manifest.private);
  /** @type {typeof all} */
  const ordered = [];
  while (ordered.length < all.length) {
    const placed = new Set(ordered.map(({ manifest }) => manifest.name));
    const next = all.find(
      ({ manifest }) =>
        !placed.has(manifest.name) &&
        all.every(({ manifest: { name } }) => !manifest.dependencies?.[name] || placed.has(name)),
    );
    if (!next) throw new Error("The workspaces depend on each other in a circle.");
    ordered.push(next);
  }
  return ordered;
}
