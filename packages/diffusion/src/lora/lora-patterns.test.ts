import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { refusal } from "../refusal.fixture.js";
import { patternMatcher } from "./lora-patterns.js";

// [expression, module, whether peft's get_pattern_key takes it]: scripts/golden/foreign_files.py.
const golden: [string, string, boolean][] = JSON.parse(
  readFileSync(new URL("../../../../tests/golden/foreign/peft-patterns.json", import.meta.url), "utf8"),
);

test("expressions match the modules that peft matches", () => {
  const wrong = golden.filter(
    ([pattern, module, matches]) => (patternMatcher({ [pattern]: 1 }, "p")(module) === 1) !== matches,
  );
  expect(golden.length).toBeGreaterThan(100);
  expect(wrong).toEqual([]);
});

test("the first expression that matches has the word", () => {
  const value = patternMatcher({ to_k: 1, ".*to_q": 2, "attn1.to_q": 3, to_q: 4 }, "p");
  expect([value("a.attn1.to_q"), value("a.to_k"), value("a.to_v")]).toEqual([2, 1, undefined]);
});

describe("an expression of strangers", () => {
  test("that makes a backtracking engine run for ages is decided at once", () => {
    const patterns = ["(a+)+$", "(((a+)+)+)+b", "(x+x+)+y", "(a|a)*b", "(.*.*)*=", "([a-z.]+)*[0-9]$"];
    const before = process.cpuUsage();
    for (const pattern of patterns)
      patternMatcher({ [pattern]: 1 }, "p")(`${"ax".repeat(60)}.${"a".repeat(60)}!`);
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1e6).toBeLessThan(2); // backtracking: centuries
  });

  test.each([
    ["(?=to_q)", /not supported/],
    ["(to_q)\\1", /not supported/],
    ["(to_q", /not supported/],
    ["a{1001}", /not supported/],
    ["((a{30}){30}){30}", /not supported/],
    [`(${"a".repeat(1000)})`, /an expression of 1002 letters/],
  ])("%s is refused by name", (pattern, message) => {
    expect(refusal(() => patternMatcher({ [pattern]: 1 }, "x: alpha_pattern"))).toMatch(message);
  });

  test("is one of 256 at most; names are no expressions", () => {
    const many = (key: (i: number) => string) =>
      Object.fromEntries(Array.from({ length: 257 }, (_, i) => [key(i), i]));
    expect(
      refusal(() =>
        patternMatcher(
          many((i) => `a${i}.*`),
          "p",
        ),
      ),
    ).toMatch(/257 expressions/);
    expect(
      patternMatcher(
        many((i) => `a.b${i}`),
        "p",
      )("a.b256"),
    ).toBe(256);
  });
});
