// @ts-check
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { codeBlocks, codeFaults } from "./code-in-documents.mjs";

const folder = mkdtempSync(join(tmpdir(), "code-in-documents-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("blocks of code are found with the line that they begin at; other languages are left alone", () => {
  expect(codeBlocks("# A\n\n```ts\nlet x = 1;\n```\n```sh\nls\n```\n```js\ny\n```\n")).toEqual([
    { language: "ts", line: 4, code: "let x = 1;\n" },
    { language: "js", line: 10, code: "y\n" },
  ]);
});

test("code that a package does not understand is told of by document and line", async () => {
  writeFileSync(
    join(folder, "page.md"),
    [
      "# Page",
      "```ts",
      'import { relu, tensor } from "@spo/torch";',
      "export const y = relu(tensor([1])).mul(2);",
      'export const z = relu("one");',
      "```",
      "```js",
      'import { noSuchThing } from "@spo/torch";',
      "export const twice = (x) => noSuchThing(x).mul(2);",
      "```",
    ].join("\n"),
  );
  expect(await codeFaults(root, folder)).toEqual([
    expect.stringMatching(/^page\.md:5: error TS2345/),
    expect.stringMatching(/^page\.md:8: error TS2305.*noSuchThing/),
  ]);
});
