// Files of strangers, damaged at random: each is read, or refused in words, within bounds of time and memory. See `mutations/mutate.ts`.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Draws } from "./mutations/draws.js";
import { GROUPS } from "./mutations/kind.js";
import { KINDS, KNOWN_TO_FAIL } from "./mutations/kinds.js";
import { makeSources, runCases, type Tally } from "./mutations/run-cases.js";
import { tasksOf } from "./mutations/tasks.js";

/** Cases of each group; a release reads 100,000 (`npm run mutate -- --release`). */
const COUNT = 2000;

const hasProc = existsSync("/proc/self/clear_refs");
const sources = mkdtempSync(join(tmpdir(), "spo-mutations-sources-"));
let tallies: Map<string, Tally>;
beforeAll(async () => {
  if (!hasProc) return;
  await makeSources(sources);
  const kinds = KINDS.filter(({ name }) => !KNOWN_TO_FAIL.includes(name));
  tallies = await runCases(tasksOf(kinds, COUNT), { sources, jobs: 2 });
});
afterAll(() => rmSync(sources, { recursive: true, force: true }));

test.skipIf(!hasProc)(
  "no file makes a reader crash, hang, fill the memory or throw what no user can mend",
  () => {
    const faults = [...tallies].flatMap(([kind, tally]) =>
      tally.faults.map(({ index, fault }) => `npm run mutate -- --kind ${kind} --case ${index}: ${fault}`),
    );
    expect(faults.slice(0, 10)).toEqual([]);
  },
);

test.skipIf(!hasProc).each(GROUPS)(
  "of %s all cases are read, and each kind's reader takes some and refuses some",
  (group) => {
    const kinds = KINDS.filter((kind) => kind.group === group && !KNOWN_TO_FAIL.includes(kind.name));
    const found = kinds.map(({ name }) => [name, tallies.get(name)] as const);
    if (kinds.length > 0)
      expect(found.reduce((sum, [, tally]) => sum + (tally?.cases ?? 0), 0)).toBeGreaterThanOrEqual(
        kinds.every(({ count }) => count !== undefined)
          ? kinds.reduce((sum, { count = 0 }) => sum + count, 0)
          : COUNT,
      );
    for (const [name, tally] of found) {
      expect(tally?.read, `${name}, read`).toBeGreaterThan(0);
      if (!NEVER_REFUSES.includes(name)) expect(tally?.refused, `${name}, refused`).toBeGreaterThan(0);
    }
  },
);

/** What these readers cannot use they pass over: text in a picture, a lock of nobody. */
const NEVER_REFUSES = ["png-text", "run-lock", "comparison-verdicts"];

test("a case is a function of its kind and its number", () => {
  const drawn = (kind: string, index: number): number[] => {
    const draws = new Draws(kind, index);
    return Array.from({ length: 5 }, () => draws.below(1e6));
  };
  expect(drawn("png", 7)).toEqual(drawn("png", 7));
  expect(new Set([drawn("png", 7), drawn("png", 8), drawn("jpeg", 7)].map(String)).size).toBe(3);
});
