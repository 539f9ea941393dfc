// @ts-check
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { circles, folderFaults } from "./folders.mjs";

/** @type {string[]} */
const made = [];
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true });
});

/**
 * Faults of a package of two folders, `low` below `high`, and a file `top.ts` with a place of its own.
 *
 * @param {Record<string, string>} files
 * @param {string[]} [upward]
 */
function faults(files, upward = []) {
  const root = mkdtempSync(join(tmpdir(), "folders-"));
  made.push(root);
  const all = {
    "index.ts": 'export * from "./high/b.js";',
    "base.ts": "export const base = 1;",
    "top.ts": 'import "./high/b.js";',
    "low/a.ts": 'import { base } from "../base.js";',
    "high/b.ts": 'import "../low/a.js";\nimport type { B } from "./c.js";',
    "high/c.ts": 'import "./b.js";\nconst b = () => import("./b.js");',
    "low/a.test.ts": 'import "../high/b.js";',
    ...files,
  };
  for (const [path, text] of Object.entries(all)) {
    const file = join(root, "package/src", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  const folders = { one: [".", "low", "high", "top.ts"] };
  return folderFaults(root, [{ name: "one", folder: join(root, "package") }], { folders, upward });
}

test("imports downwards have no fault, nor have tests, and a circle that types or late imports close", () => {
  expect(faults({})).toEqual([]);
});

test.each([
  ["of a value", "low/a.ts", 'import { b } from "../high/b.js";', /low is below high/],
  ["of a type", "low/a.ts", 'import type { C } from "../high/c.js";', /low is below high/],
  ["made late", "base.ts", 'const a = await import("./low/a.js");', /\. is below low/],
  ["of a file with a place of its own", "high/c.ts", 'import "../top.js";', /high is below top\.ts/],
  ["of the package's index", "high/c.ts", 'import "../index.js";', /high is below index\.ts/],
])("an import upwards %s is a fault", (_, file, text, rule) => {
  const found = faults({ [file]: text }).filter((fault) => !fault.startsWith("circle"));
  expect(found).toEqual([expect.stringMatching(rule)]);
  expect(found[0]).toContain(`package/src/${file}`);
});

test("a folder that has no place is a fault", () => {
  expect(faults({ "attic/d.ts": "export const d = 1;" })).toEqual([
    expect.stringMatching(/attic\/d\.ts: its folder has no place in the order of one/),
  ]);
});

test("files that load each other are a fault", () => {
  expect(faults({ "high/c.ts": 'import "./b.js";', "high/b.ts": 'import { c } from "./c.js";' })).toEqual([
    "circle of imports: package/src/high/b.ts, package/src/high/c.ts",
  ]);
});

test("an arrow upwards that is listed is let through, and one that is listed and gone is a fault", () => {
  const upward = ["one: low → high"];
  expect(faults({ "low/a.ts": 'import type { C } from "../high/c.js";' }, upward)).toEqual([]);
  expect(faults({}, upward)).toEqual([expect.stringMatching(/one: low → high: is not there any more/)]);
});

test("circles are the sets whose members lead to each other", () => {
  const arrows = { a: ["b"], b: ["c", "d"], c: ["a"], d: ["e"], e: ["d"], f: ["a"], g: [] };
  const found = circles(new Map(Object.entries(arrows)));
  expect(found).toHaveLength(2);
  expect(found).toEqual(
    expect.arrayContaining([
      ["a", "b", "c"],
      ["d", "e"],
    ]),
  );
});
