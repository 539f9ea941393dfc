import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  hasExplicitWeights,
  hasPromptMarks,
  parsePromptWeights,
  unsupportedFeatures,
} from "./prompt-weights.js";

/** Parts as [text, weight] pairs. */
const parsed = (prompt: string): [string, number][][] =>
  parsePromptWeights(prompt).map((part) => part.map(({ text, weight }) => [text, weight]));

// The examples that A1111's web UI documents its parser by.
test.each<[prompt: string, expected: [string, number][]]>([
  ["normal text", [["normal text", 1]]],
  [
    "an (important) word",
    [
      ["an ", 1],
      ["important", 1.1],
      [" word", 1],
    ],
  ],
  ["(unbalanced", [["unbalanced", 1.1]]],
  ["\\(literal\\]", [["(literal]", 1]]],
  ["(unnecessary)(parens)", [["unnecessaryparens", 1.1]]],
  [
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    [
      ["a ", 1],
      ["house", 1.5730000000000004],
      [" ", 1.1],
      ["on", 1],
      [" a ", 1.1],
      ["hill", 0.55],
      [", sun, ", 1.1],
      ["sky", 1.4641000000000006],
      [".", 1.1],
    ],
  ],
])("%s is read as the web UI documents it", (prompt, expected) => {
  expect(parsed(prompt)).toEqual([expected]);
});

test.each<[prompt: string, expected: [string, number][][]]>([
  ["", [[["", 1]]]],
  ["[less]", [[["less", 1 / 1.1]]]],
  ["(a:-0.5)", [[["a", -0.5]]]],
  ["( a : +1.25 )", [[[" a ", 1.25]]]],
  ["a:1.3)", [[["a:1.3)", 1]]]],
  ["time 12:30", [[["time 12:30", 1]]]],
  ["(a:1.2.3)", [[["a:1.2.3)", 1.1]]]],
  ["a \\\\ b", [[["a \\ b", 1]]]],
  ["a ] b )", [[["a ] b )", 1]]]],
  ["[open", [[["open", 1 / 1.1]]]],
  ["a BREAK b", [[["a", 1]], [["b", 1]]]],
  ["BREAKFAST", [[["BREAKFAST", 1]]]],
  ["a BREAK", [[["a", 1]], [["", 1]]]],
  ["(a BREAK b)", [[["a", 1.1]], [["b", 1.1]]]],
])("%j", (prompt, expected) => {
  expect(parsed(prompt)).toEqual(expected);
});

describe("any prompt", () => {
  const prompts = fc.string({
    unit: fc.constantFrom("(", ")", "[", "]", "\\", ":", "1", ".", " ", "a", "é", "BREAK", "\n"),
  });

  test("parses to weights that are numbers, and words that were written", () => {
    fc.assert(
      fc.property(prompts, (prompt) => {
        const texts = parsePromptWeights(prompt).flat();
        for (const { text, weight } of texts) {
          expect(Number.isNaN(weight)).toBe(false);
          expect(text).not.toMatch(/\bBREAK\b/);
        }
        const letters = (text: string): string => text.replace(/[^aé]/g, "");
        expect(letters(texts.map(({ text }) => text).join(" "))).toBe(
          letters(prompt.replaceAll("BREAK", "")),
        );
      }),
    );
  });

  test("without marks is one text of weight 1", () => {
    fc.assert(
      fc.property(prompts, (prompt) => {
        if (!hasPromptMarks(prompt)) expect(parsed(prompt)).toEqual([[[prompt, 1]]]);
      }),
    );
  });

  test("with escaped brackets alone is itself, of weight 1", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("(", ")", "[", "]", "\\", " ", "a", "b") }), (prompt) => {
        expect(parsed(prompt.replace(/[()[\]\\]/g, "\\$&"))).toEqual([[[prompt, 1]]]);
      }),
    );
  });
});

test.each([
  ["[a:b:10]", /scheduling/],
  ["[a:0.5]", /scheduling/],
  ["a [cat|dog]", /alternating/],
  ["a AND b", /AND/],
  ["__colour__ cat", /wildcards/],
  ["{red|blue} cat", /variants/],
  ["embedding:easy", /textual inversion/],
  ["<hypernet:x:1>", /extra network/],
])("%s asks for what is not supported, by name", (prompt, name) => {
  expect(unsupportedFeatures(prompt)).toEqual([expect.stringMatching(name)]);
});

test.each([
  "a (cat:1.2), [dog], ((sun)) at 12:30",
  "<lora:x:1> <lyco:y>",
  "salt and pepper, SAND",
  "snake__case",
])("%s asks for nothing else", (prompt) => {
  expect(unsupportedFeatures(prompt)).toEqual([]);
});

test.each([
  ["a (cat:1.2)", true],
  ["((cat))", true],
  ["<lora:x:1> cat", true],
  ["a cat (felis catus), asleep", false],
  ["at 12:30 (noon)", false],
  ["see note (1: below)", false],
])("%s has explicit weights: %s", (text, expected) => {
  expect(hasExplicitWeights(text)).toBe(expected);
});
