// @ts-check
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { docstringFaults } from "./docstrings.mjs";

/** @type {string[]} */
const made = [];
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true });
});

/**
 * A repository of one package with these sources.
 * @param {Record<string, string>} sources
 */
function repository(sources) {
  const folder = mkdtempSync(join(tmpdir(), "docstrings-"));
  made.push(folder);
  const of = join(folder, "packages/one");
  mkdirSync(join(of, "src"), { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ workspaces: ["packages/one"] }));
  writeFileSync(
    join(of, "package.json"),
    JSON.stringify({ exports: { ".": { types: "./dist/index.d.ts", default: "./dist/index.js" } } }),
  );
  for (const [name, code] of Object.entries(sources)) writeFileSync(join(of, "src", name), code);
  return folder;
}

test("this repository says of each export what it is", () => {
  expect(docstringFaults(root)).toEqual([]);
});

test.each([
  "function f() {}",
  "class f {}",
  "interface f {}",
  "type f = 1;",
  "const f = 1;",
  "async function* f() {}",
])("an exported %s without a docstring is a fault, and with one is none", (declaration) => {
  const index = 'export { f } from "./a.js";\n';
  const bare = repository({ "index.ts": index, "a.ts": `const other = 1;\nexport ${declaration}\n` });
  expect(docstringFaults(bare)).toEqual(["packages/one/src/a.ts:2: f has no docstring"]);
  const told = repository({ "index.ts": index, "a.ts": `/** What it is. */\nexport ${declaration}\n` });
  expect(docstringFaults(told)).toEqual([]);
});

test("what a file has and the package does not export needs no docstring; what is passed on whole does", () => {
  const folder = repository({
    "index.ts": 'export { a, type B } from "./some.js";\nexport * from "./all.js";\n',
    "some.ts": "/** A. */\nexport const a = 1;\nexport const inner = 2;\nexport interface B {}\n",
    "all.ts": "export const c = 1;\n",
  });
  expect(docstringFaults(folder)).toEqual([
    "packages/one/src/all.ts:1: c has no docstring",
    "packages/one/src/some.ts:4: B has no docstring",
  ]);
});

test("the type of a schema and later overloads share the first one's docstring", () => {
  const folder = repository({
    "index.ts": 'export { f, S } from "./a.js";\n',
    "a.ts":
      "/** A schema. */\nexport const S = 1;\nexport type S = typeof S;\n/** F. */\nexport function f(x: 1): 1;\nexport function f(x: 2): 2;\n",
  });
  expect(docstringFaults(folder)).toEqual([]);
});
