import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "@spo/torch";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { letterTokenizer } from "../pipelines/tiny-pipeline.fixture.js";
import { ClipTokenizer, loadTokenizer } from "./clip-tokenizer.js";

const scratch = mkdtempSync(join(tmpdir(), "tokenizer-"));
afterAll(() => rmSync(scratch, { recursive: true }));

// A small vocabulary of the same kind as CLIP's, with merges.
const emoji = loadTokenizer(fileURLToPath(new URL("../../../../examples/emoji/tokenizer", import.meta.url)));
const letters = letterTokenizer();
const [a, aEnd, bEnd, start, end] = [1, 27, 28, 53, 54];

test("a word is its letters, the last one marked as an end", () => {
  expect(letters.encode("aab")).toEqual([start, a, a, bEnd, end]);
  expect(letters.encode("a b")).toEqual([start, aEnd, bEnd, end]);
  expect(letters.encode("")).toEqual([start, end]);
});

test("ids are padded with the end token, or with the pad token where there is another", () => {
  expect(letters.encodePadded("a")).toEqual([start, aEnd, end, end, end, end, end, end]);
  expect(letterTokenizer({ padToken: "!" }).encodePadded("a")).toEqual([start, aEnd, end, 0, 0, 0, 0, 0]);
});

test("what is too long is cut, and the end token stays", () => {
  const ids = letters.encode("abababababab");
  expect(ids).toHaveLength(8);
  expect(ids.at(-1)).toBe(end);
});

test("special tokens in a text become their ids, and `!` does where it is the pad token", () => {
  expect(letters.encode("a<|endoftext|>b")).toEqual([start, aEnd, end, bEnd, end]);
  expect(letterTokenizer({ padToken: "!" }).encode("a!!b")).toEqual([start, aEnd, 0, 0, bEnd, end]);
});

test("a special token in capitals is text, but for one that is matched in the normalised text", () => {
  const normalizedTokens = ["<|startoftext|>", "<|endoftext|>"];
  const second = new ClipTokenizer({ ...letters.options, padToken: "!", normalizedTokens });
  expect(second.encode("A<|EndOfText|>!B")).toEqual([start, aEnd, end, 0, bEnd, end]);
  const first = letterTokenizer({ padToken: "!" });
  expect(first.encode("A<|EndOfText|>")).not.toEqual([start, aEnd, end, end]);
});

describe("for any text", () => {
  test("there are as many ids as the context is long, all of the vocabulary, first the start token", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        const ids = emoji.encodePadded(text);
        expect(ids).toHaveLength(emoji.modelMaxLength);
        expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < emoji.vocabSize)).toBe(true);
        expect(ids[0]).toBe(emoji.encode("")[0]);
      }),
      { numRuns: 200 },
    );
  });

  test("case, the kind and the length of white space, and the form of accents make no difference", () => {
    const word = fc.stringMatching(/^[a-zéü]{1,6}$/);
    const space = fc.constantFrom(" ", "\t\n", "\u00a0", "\u3000", "\u0085", "\u2028  ");
    fc.assert(
      fc.property(word, space, word, (first, between, second) => {
        const plain = emoji.encode(`${first} ${second}`);
        expect(emoji.encode(`${first}${between}${second}`)).toEqual(plain);
        expect(emoji.encode(`${first} ${second}`.toUpperCase())).toEqual(plain);
        expect(emoji.encode(`${first} ${second}`.normalize("NFD"))).toEqual(plain);
      }),
      { numRuns: 100 },
    );
  });

  test("encoding twice gives the same, cache or not", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), (text) => {
        const fresh = new ClipTokenizer(emoji.options);
        expect(fresh.encode(text)).toEqual(emoji.encode(text));
        expect(fresh.encode(text)).toEqual(emoji.encode(text));
      }),
      { numRuns: 10 },
    );
  });
});

test("Σ becomes σ at the end of a word too, letter by letter", () => {
  const { modelMaxLength: _, ...options } = emoji.options;
  const roomy = new ClipTokenizer({ ...options, modelMaxLength: 40 });
  expect(roomy.encode("ΟΔΟΣ")).toEqual(roomy.encode("οδοσ"));
  expect(roomy.encode("ΟΔΟΣ")).not.toEqual(roomy.encode("οδος"));
});

test("a batch is int64 [texts, length]", () => {
  const batch = letters.encodeBatch(["a", "b a"]);
  expect([batch.shape, batch.dtype]).toEqual([[2, 8], "int64"]);
  batch.dispose();
});

describe("a tokenizer's folder", () => {
  test("without merges, with no JSON, or without its special tokens is refused with the file's name", () => {
    writeFileSync(join(scratch, "vocab.json"), "{");
    expect(() => loadTokenizer(scratch)).toThrow(/vocab\.json/);
    writeFileSync(join(scratch, "vocab.json"), '{"a": 0}');
    expect(() => loadTokenizer(scratch)).toThrow(/merges\.txt/);
    writeFileSync(join(scratch, "merges.txt"), "#version: 0.2\n");
    expect(() => loadTokenizer(scratch)).toThrow(/<\|startoftext\|>/);
    expect(() => loadTokenizer(scratch)).toThrow(UserError);
  });
});
