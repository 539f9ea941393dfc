import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { format } from "node:util";
import { expect, test } from "vitest";
import * as torch from "./index.js";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const examples = [...readme.matchAll(/```js\n(.*?)```/gs)].map((match) => match[1] as string);

test("the README has examples", () => {
  expect(examples.length).toBeGreaterThanOrEqual(4);
});

test.each(examples)("an example of the README prints what stands beside it: %s", (code) => {
  const expected = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)/g)].map((match) => match[1]);
  const printed: string[] = [];
  const program = code.replace(/^import (\{[^}]+\}) from "@spo\/torch";/m, "const $1 = torch;");
  const folder = mkdtempSync(join(tmpdir(), "readme-"));
  const before = process.cwd();
  process.chdir(folder); // the examples write to where they are
  try {
    torch.scope(() => {
      new Function("torch", "console", program)(torch, {
        log: (...values: unknown[]) => printed.push(format(...values)),
      });
    });
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  }
  expect(expected.length).toBeGreaterThan(0);
  expect(printed).toEqual(expected);
});
