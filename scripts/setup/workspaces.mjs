// @ts-check
import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * The folders of a repository's packages, as its package.json lists them: from the bottom layer to the top.
 *
 * @param {string} root
 * @returns {string[]} absolute paths
 */
export const workspaces = (root) =>
  /** @type {{ workspaces: string[] }} */ (
    JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  ).workspaces.map((folder) => join(root, folder));
