// @ts-check
// Every link of a document to a file of the repository, or to a heading of one, leads somewhere.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Folders whose Markdown is not ours. */
const FOREIGN = new Set(["node_modules", "dist", "runs", ".git"]);

/**
 * Markdown files of the repository, by their paths from its root.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function documentsOf(root, folder = "") {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder ? `${folder}/${entry.name}` : entry.name;
    if (entry.isDirectory()) return FOREIGN.has(entry.name) ? [] : documentsOf(root, path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

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
