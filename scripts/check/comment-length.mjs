// @ts-check
// Comments are read, so their lines end where a screen does. The formatter breaks code and leaves comments as they are.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filesBelow } from "./links.mjs";

/** Characters of a line that holds a comment, at most. */
const MOST = 140;

/** Files with comments that people wrote: no generated ones. */
const READ = /(?<!\.gen)\.(ts|mjs|js|cc|h|py)$/;

/**
 * Lines of a repository that hold a comment and are too long, as `FILE:LINE: …`.
 *
 * @param {string} root
 * @returns {string[]}
 */
export const commentLengthFaults = (root) =>
  filesBelow(root)
    .filter((path) => READ.test(path))
    .flatMap((path) =>
      longComments(readFileSync(join(root, path), "utf8"), path.endsWith(".py")).map(
        ({ line, length }) => `${path}:${line}: a comment of ${length} characters; ${MOST} are the most`,
      ),
    );

/**
 * Lines of code that hold a comment, or a part of one, and are too long.
 *
 * @param {string} code @param {boolean} [python]
 * @returns {{ line: number, length: number }[]}
 */
export function longComments(code, python = false) {
  const comment = python ? /^\s*(#|""")|\s#\s[^"']*$/ : /^\s*(\/\/|\/\*|\*[\s/])|[;,{}()[\]]\s*(\/\/|\/\*)\s/;
  return code
    .split("\n")
    .map((text, i) => ({ text, line: i + 1, length: [...text].length }))
    .filter(({ text, length }) => length > MOST && comment.test(text))
    .map(({ line, length }) => ({ line, length }));
}
