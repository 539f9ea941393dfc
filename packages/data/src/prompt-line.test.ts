import { UserError } from "@spo/torch/files";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parsePromptFile, parsePromptLine } from "./prompt-line.js";

test("a prompt's own settings are taken off its end", () => {
  expect(parsePromptLine("a cat --n blurry, low-res --w 512 --h 768 --d 7 --l 7.5 --s 30", "here")).toEqual({
    prompt: "a cat",
    negative: "blurry, low-res",
    width: 512,
    height: 768,
    seed: 7,
    guidance: 7.5,
    steps: 30,
  });
  expect(parsePromptLine("--n everything", "here")).toEqual({ prompt: "", negative: "everything" });
});

test("dashes within words stay in the prompt", () => {
  expect(parsePromptLine("a well-known cat -- or a dog --like cat", "here")).toEqual({
    prompt: "a well-known cat -- or a dog --like cat",
  });
});

test("a setting that is unknown or no number is refused with its place", () => {
  expect(() => parsePromptFile("a cat\n# --q 1\na dog --q 1", "p.txt")).toThrow(
    /^p\.txt, line 3: --q is no setting/,
  );
  expect(() => parsePromptLine("a cat --w 5.5", "here")).toThrow(
    'here: --w needs a whole number, found "5.5"',
  );
  expect(() => parsePromptLine("a cat --s", "here")).toThrow(/--s needs a whole number/);
});

test("a file's empty lines and comments are left out", () => {
  expect(parsePromptFile("\r\n a cat \r\n#no\n\na dog --d 3\n", "p.txt")).toEqual([
    { prompt: "a cat" },
    { prompt: "a dog", seed: 3 },
  ]);
});

test("any line parses or is refused as a UserError", () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom("-", " ", "n", "w", "q", "1", "é", "\t") }), (line) => {
      try {
        parsePromptLine(line, "here");
      } catch (error) {
        expect(error).toBeInstanceOf(UserError);
      }
    }),
  );
});
