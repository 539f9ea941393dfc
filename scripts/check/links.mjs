// @ts-check
// Every link of a document to a file of the repository, or to a heading of one, leads somewhere. Every source file that it names is there.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Folders whose files are not ours. */
const FOREIGN = new Set(["node_modules", "dist", "runs", ".git"]);

/**
 * Markdown files of the repository, by their paths from its root.
 *
 * @param {string} root
 * @returns {string[]}
 */
export const documentsOf = (root) => filesBelow(root).filter((path) => path.endsWith(".md"));

/**
 * A line for each link that leads nowhere: `docs/a.md: b.md#c`. Links to the web are not followed.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function linkFaults(root) {
  return documentsOf(root).flatMap((path) => {
    const text = withoutCode(readFileSync(join(root, path), "utf8"));
    return [...text.matchAll(/\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]*))?\)/g)]
      .filter(([, file, anchor]) => {
        const target = file ? join(root, dirname(path), file) : join(root, path);
        if (!existsSync(target)) return true;
        return anchor !== undefined && !anchorsOf(readFileSync(target, "utf8")).has(anchor);
      })
      .map(([link]) => `${path}: ${link.slice(2, -1)} leads nowhere`);
  });
}

/** Documents that tell of former files too. */
const OF_THE_PAST = new Set(["CHANGELOG.md"]);

/**
 * A line for each source file that a document names in backticks and that is not there: `docs/a.md: samplers/gone.ts is no file`.
 * A name may leave out the folders above it.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function fileNameFaults(root) {
  const files = filesBelow(root);
  return documentsOf(root)
    .filter((path) => !OF_THE_PAST.has(path))
    .flatMap((path) => {
      const text = withoutBlocks(readFileSync(join(root, path), "utf8"));
      return [...text.matchAll(/`((?:[\w@.-]+\/)+[\w.-]+\.(?:ts|mjs|js|h|cc|py))`/g)]
        .map(([, name]) => /** @type {string} */ (name))
        .filter((name) => !/^\.|[A-Z]{4,}/.test(name)) // a file of the user's, or a placeholder such as NAME.ts
        .filter((name) => !files.some((file) => file === name || file.endsWith(`/${name}`)))
        .map((name) => `${path}: ${name} is no file`);
    });
}

/**
 * Files of the repository, by their paths from its root; without what is installed, built or written by runs.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function filesBelow(root, folder = "") {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder ? `${folder}/${entry.name}` : entry.name;
    if (entry.isDirectory()) return FOREIGN.has(entry.name) ? [] : filesBelow(root, path);
    return [path];
  });
}

/**
 * What a document's headings are called in links, as GitHub calls them.
 *
 * @param {string} text
 * @returns {Set<string>}
 */
export function anchorsOf(text) {
  /** @type {Set<string>} */
  const anchors = new Set();
  for (const [, heading] of withoutBlocks(text).matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const plain = /** @type {string} */ (heading).replace(/\[([^\]]*)\]\([^)]*\)/g, "$1");
    const name = plain
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, "")
      .replaceAll(" ", "-");
    let anchor = name;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${name}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** @param {string} text */
const withoutBlocks = (text) => text.replace(/^```[^\n]*\n[\s\S]*?^```/gm, "");

/** @param {string} text */
const withoutCode = (text) => withoutBlocks(text).replace(/`[^`\n]*`/g, "");
