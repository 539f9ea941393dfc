// @ts-check
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { root as repository } from "../setup/root.mjs";
import { anchorsOf, documentsOf, fileNameFaults, linkFaults } from "./links.mjs";

const root = mkdtempSync(join(tmpdir(), "links-"));
afterAll(() => rmSync(root, { recursive: true }));

test("a link to a missing file or heading is a fault; to one that is there, to the web or in code, is none", () => {
  mkdirSync(join(root, "docs"));
  mkdirSync(join(root, "node_modules"));
  writeFileSync(join(root, "node_modules", "foreign.md"), "[x](none.md)");
  writeFileSync(
    join(root, "docs", "b.md"),
    "# Title\n\n## What `it` is: a *test*\n\n```\n# no heading\n```\n",
  );
  writeFileSync(
    join(root, "a.md"),
    [
      "# A",
      "[good](docs/b.md) [good](docs/b.md#what-it-is-a-test) [good](#a) [web](https://none.example/x.md) `[code](x.md)`",
      "[bad](docs/c.md) [bad](docs/b.md#no-heading) ![bad](picture.png) [bad](#b)",
      "```",
      "[code](y.md)",
      "```",
    ].join("\n"),
  );
  expect(documentsOf(root).sort()).toEqual(["a.md", "docs/b.md"]);
  expect(linkFaults(root)).toEqual([
    "a.md: docs/c.md leads nowhere",
    "a.md: docs/b.md#no-heading leads nowhere",
    "a.md: picture.png leads nowhere",
    "a.md: #b leads nowhere",
  ]);
});

test("equal headings get numbers", () => {
  expect([...anchorsOf("# One\n## One\n## Two [linked](x.md)\n")]).toEqual(["one", "one-1", "two-linked"]);
});

test("every link of this repository's documents leads somewhere", () => {
  expect(documentsOf(repository)).toContain("README.md");
  expect(linkFaults(repository)).toEqual([]);
});

test("a source file that a document names and that is not there is a fault; a placeholder and a user's file are none", () => {
  const folder = mkdtempSync(join(tmpdir(), "file-names-"));
  try {
    mkdirSync(join(folder, "src", "nn"), { recursive: true });
    writeFileSync(join(folder, "src", "nn", "layers.ts"), "");
    writeFileSync(
      join(folder, "a.md"),
      "`src/nn/layers.ts` `nn/layers.ts` `nn/gone.ts` `nn/NAME.ts` `./my/judge.ts`\n```\nnn/block.ts\n```\n",
    );
    writeFileSync(join(folder, "CHANGELOG.md"), "before: `nn/gone.ts`");
    expect(fileNameFaults(folder)).toEqual(["a.md: nn/gone.ts is no file"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("every source file that this repository's documents name is there", () => {
  expect(fileNameFaults(repository)).toEqual([]);
});
