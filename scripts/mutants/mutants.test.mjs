// @ts-check
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { MUTANTS } from "./mutants.mjs";

test("there are at least twenty mutants, each with a name of its own", () => {
  expect(MUTANTS.length).toBeGreaterThanOrEqual(20);
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
});

test.each(MUTANTS.map((mutant) => [mutant.name, mutant]))(
  "%s: its place stands once in its file, and its test is there",
  (_, { file, from, to, test: killer }) => {
    expect(readFileSync(join(root, file), "utf8").split(from)).toHaveLength(2);
    expect(to).not.toBe(from);
    expect(existsSync(join(root, killer))).toBe(true);
  },
);
