// @ts-check
// What a command leaves on the disk is written by one path, `files.ts` of @spo/torch: whole or not there, also after a power cut.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filesBelow } from "./links.mjs";

/** Sources of the packages, without their tests. */
const READ = /^(packages|examples)\/[^/]+\/src\/(?!.*\.(test|fixture)\.).*\.ts$/;

/** What makes or changes a file, by its name in `node:fs`, `node:fs/promises` and sharp. */
const WRITER =
  /(?<![\w.#])(writeFile|writeFileSync|write(?:v)?Sync|appendFile|appendFileSync|createWriteStream|rename|renameSync|copyFile|copyFileSync|cp|cpSync|link|linkSync|truncate|truncateSync|(?:open|openSync)\([^;()]*"(?:w|a|r\+|wx)")(?=\(|\)|,)|\.(toFile)\(/g;

/** Files that may, and why it loses nothing. */
const MAY = new Map([
  ["packages/torch/src/files.ts", "the one path"],
  ["packages/torch/src/peak-memory.ts", "no file of the disk"],
  ["packages/records/src/activity.ts", "says what a process does now; nothing depends on it"],
  [
    "packages/records/src/tensorboard-log.ts",
    "for TensorBoard, which passes over a torn end; nothing depends on it",
  ],
  ["packages/records/src/event-log.ts", "cuts off what a killed writer left half"],
  ["packages/records/src/vote-log.ts", "appends, and answers when it is on the disk"],
  [
    "packages/hub/src/download-blob.ts",
    "appends to a part, which is checked by its hash before it gets its name",
  ],
  ["packages/cli/src/jobs/trace-file.ts", "a trace to look at; nothing depends on it"],
  ["packages/cli/src/jobs/run-self.ts", "what a started command says; nothing depends on it"],
  ["packages/hub/src/cache.ts", "a link, or the copy of a blob in its place"],
  ["packages/diffusion/src/verify/verify-flow-modules.ts", "a folder for the time of a check"],
]);

/**
 * Lines of a repository that write to the disk by another path, as `FILE:LINE: …`.
 *
 * @param {string} root
 * @returns {string[]}
 */
export const durableWriteFaults = (root) =>
  filesBelow(root)
    .filter((path) => READ.test(path) && !MAY.has(path))
    .flatMap((path) =>
      writersIn(readFileSync(join(root, path), "utf8")).map(
        ({ line, name }) =>
          `${path}:${line}: ${name}; write by writeFileAtomic, AtomicFile or renameDurably of @spo/torch/files`,
      ),
    );

/**
 * Calls of code that make or change files.
 *
 * @param {string} code
 * @returns {{ line: number, name: string }[]}
 */
export const writersIn = (code) =>
  code
    .split("\n")
    .flatMap((text, i) =>
      /^\s*(\/\/|\/?\*|import )/.test(text)
        ? []
        : [...text.matchAll(WRITER)].map(([, name, method]) => ({ line: i + 1, name: name ?? method ?? "" })),
    );
