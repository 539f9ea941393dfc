import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checksAskedFor, missingFiles, openGoldenSet, uncheckedFiles } from "./golden-set.js";
import type { Check } from "./verify-check.js";

const check = (name: string, files: string[], rest: Partial<Check> = {}): Check => ({
  name,
  files,
  run: () => [],
  ...rest,
});
const CHECKS = [
  check("whole", ["a.safetensors", "tiny"]),
  check("based", ["b.safetensors"], { baseFiles: ["judge"] }),
  check("elsewhere", ["c.safetensors"]),
  check("optional", ["d.safetensors"], { optional: "d.safetensors" }),
];

let root: string;
let folder: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-golden-set-"));
  folder = join(root, "set");
});
afterEach(() => rmSync(root, { recursive: true }));

const write = (...paths: string[]): void => {
  for (const path of paths) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), "");
  }
};
const manifest = (content: unknown): void => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(content));
};
const asked = (): string[] => checksAskedFor(openGoldenSet(folder), CHECKS).map(({ name }) => name);
const missing = (i: number): string[] => missingFiles(openGoldenSet(folder), CHECKS[i] as Check);

describe("a set with a manifest", () => {
  test("is asked for what it lists, or has besides, and for nothing else", () => {
    manifest({ files: ["a.safetensors", "tiny/config.json"] });
    expect(asked()).toEqual(["whole"]);
    write("set/d.safetensors");
    expect(asked()).toEqual(["whole", "optional"]);
  });

  test("misses what it lists and has not, within folders too", () => {
    manifest({
      files: { "a.safetensors": {}, "tiny/config.json": {}, "tiny/model.safetensors": {}, "x/y.json": {} },
    });
    expect(missing(0)).toEqual(["a.safetensors", "tiny"]);
    write("set/a.safetensors", "set/tiny/config.json");
    expect(missing(0)).toEqual(["tiny/model.safetensors"]);
    expect(uncheckedFiles(openGoldenSet(folder), CHECKS)).toEqual({
      unchecked: ["x"],
      missing: ["x/y.json"],
    });
  });

  test("names what it lists or has and no check of it reads", () => {
    manifest({ files: ["a.safetensors", "c.safetensors"] });
    write("set/a.safetensors", "set/foreign.json", "set/README.md", "set/.hidden", "set/c.safetensors");
    const set = openGoldenSet(folder);
    // The folder that the check `whole` needs beside it is not listed.
    expect(uncheckedFiles(set, checksAskedFor(set, CHECKS))).toEqual({
      unchecked: ["a.safetensors", "foreign.json"],
      missing: [],
    });
  });

  test("looks for the files of its base beside it", () => {
    manifest({ base: "../other", files: ["b.safetensors"] });
    write("set/b.safetensors", "set/judge/config.json");
    expect(openGoldenSet(folder).base).toBe(join(root, "other"));
    expect(missing(1)).toEqual([join(root, "other", "judge")]);
    write("other/judge/config.json");
    expect(missing(1)).toEqual([]);
  });

  test.each([[[]], [{ files: 3 }], [{ files: [1] }], [{ base: 1, files: [] }]])(
    "of another form, %j, is refused with its path",
    (content) => {
      manifest(content);
      expect(() => openGoldenSet(folder)).toThrow(join(folder, "manifest.json"));
    },
  );
});

test("a set without a manifest is asked for everything but the optional files that it lacks, and is its own base", () => {
  expect(asked()).toEqual(["whole", "based", "elsewhere"]);
  expect(missing(1)).toEqual(["b.safetensors", join(folder, "judge")]);
  write("set/d.safetensors");
  expect(asked()).toEqual(["whole", "based", "elsewhere", "optional"]);
});
