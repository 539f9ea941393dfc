import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "@spo/torch";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { letterTokenizer } from "../families/tiny-pipeline.fixture.js";
import { refusal } from "../refusal.fixture.js";
import { mergeSymbols } from "./byte-pairs.js";
import { ClipTokenizer, loadTokenizer } from "./clip-tokenizer.js";
import { saveTokenizer } from "./save-tokenizer.js";

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

let odd = 0;

describe("a tokenizer's folder as transformers 5 writes it, and as it reads older ones:", () => {
  const { vocabulary, merges } = emoji.options;
  const write = (name: string, files: Readonly<Record<string, unknown>>): string => {
    const folder = join(scratch, name);
    mkdirSync(folder);
    for (const [file, value] of Object.entries(files))
      writeFileSync(join(folder, file), typeof value === "string" ? value : JSON.stringify(value));
    return folder;
  };
  const tokenizerJson = (added: readonly object[] = []) => ({
    added_tokens: ["<|startoftext|>", "<|endoftext|>"]
      .map((content): object => ({ id: vocabulary[content], content, normalized: false, special: true }))
      .concat(added),
    model: { type: "BPE", vocab: vocabulary, merges },
  });
  const slow = {
    "vocab.json": vocabulary,
    "merges.txt": `#version: 0.2\n${merges.map((pair) => pair.join(" ")).join("\n")}\n`,
    "tokenizer_config.json": { model_max_length: 20 },
  };
  const cat = emoji.encode("cat").slice(1, -1);
  const toy = emoji.vocabSize;

  test("tokenizer.json alone, its merges as pairs or as texts", () => {
    const texts = {
      ...tokenizerJson(),
      model: { vocab: vocabulary, merges: merges.map((pair) => pair.join(" ")) },
    };
    for (const [name, file] of [
      ["pairs", tokenizerJson()],
      ["texts", texts],
    ] as const) {
      const fast = loadTokenizer(
        write(`fast-${name}`, { "tokenizer.json": file, "tokenizer_config.json": {} }),
      );
      expect(fast.encode("A photo of <|endoftext|> cats, 4k!")).toEqual(
        new ClipTokenizer({ vocabulary, merges }).encode("A photo of <|endoftext|> cats, 4k!"),
      );
    }
  });

  test("words that were added are one token each, in any case of letters where they are normalised", () => {
    const content = "<Cat-Toy>";
    const folders = [
      write("added", { ...slow, "added_tokens.json": { [content]: 9999 } }),
      write("decoder", {
        ...slow,
        "tokenizer_config.json": { added_tokens_decoder: { 9999: { content, normalized: true } } },
      }),
      write("fast", { "tokenizer.json": tokenizerJson([{ id: 9999, content, normalized: true }]) }),
    ];
    for (const folder of folders) {
      const tokenizer = loadTokenizer(folder);
      expect(tokenizer.vocabSize, folder).toBe(toy + 1);
      expect(tokenizer.encode("cat <cat-toy>CAT <CAT-TOY>").slice(1, -1), folder).toEqual([
        ...cat,
        toy,
        ...cat,
        toy,
      ]);
      const saved = `${folder}-saved`;
      saveTokenizer(saved, tokenizer);
      expect(loadTokenizer(saved).encode("a <cat-toy>cat"), folder).toEqual(
        tokenizer.encode("a <cat-toy>cat"),
      );
    }
    const literal = { id: 9999, content, normalized: false };
    const exact = loadTokenizer(write("exact", { "tokenizer.json": tokenizerJson([literal]) }));
    expect(exact.encode("<Cat-Toy>")).toContain(toy);
    expect(exact.encode("<cat-toy>")).not.toContain(toy);
  });

  test("a pad token that the vocabulary lacks gets the next id", () => {
    const padded = loadTokenizer(
      write("pad", { ...slow, "special_tokens_map.json": { pad_token: "[PAD]" } }),
    );
    expect(padded.encodePadded("cat").at(-1)).toBe(toy);
  });

  test("a length that is huge or not there is 77", () => {
    for (const [name, config] of [
      ["none", {}],
      ["null", { model_max_length: null }],
      ["huge", { model_max_length: 1e30 }],
    ] as const)
      expect(
        loadTokenizer(write(`length-${name}`, { ...slow, "tokenizer_config.json": config })).modelMaxLength,
      ).toBe(77);
  });

  test.each<[string, string, unknown]>([
    ["vocab.json", "vocab.json", null],
    ["vocab.json", "vocab.json", [1]],
    ["vocab.json", 'id of "a"', { a: -1 }],
    ["vocab.json", 'id of "a"', { a: 0.5 }],
    ["vocab.json", 'id of "a"', { a: "1" }],
    ["tokenizer.json", "tokenizer.json", 7],
    ["tokenizer.json", "merges", { model: { vocab: {}, merges: null } }],
    ["tokenizer.json", "no pair", { model: { vocab: {}, merges: [["a", 1]] } }],
    ["tokenizer_config.json", "tokenizer_config.json", null],
    ["tokenizer_config.json", "model_max_length", { model_max_length: -5 }],
    ["tokenizer_config.json", "model_max_length", { model_max_length: 0.5 }],
    ["tokenizer_config.json", "model_max_length", { model_max_length: 1 }],
    ["tokenizer_config.json", "model_max_length", { model_max_length: "77" }],
    ["tokenizer_config.json", "padding_side", { padding_side: "left" }],
    ["tokenizer_config.json", "added_tokens_decoder", { added_tokens_decoder: [1] }],
    ["tokenizer_config.json", "added_tokens_decoder", { added_tokens_decoder: { 3: 5 } }],
    ["special_tokens_map.json", "pad_token", { pad_token: 5 }],
    ["special_tokens_map.json", "special_tokens_map.json", '"a"'],
    ["added_tokens.json", "added_tokens.json", [1]],
    ["merges.txt", "no pair", "#version: 0.2\na b c\n"],
  ])("%s that is odd is refused, saying %s", (file, why, value) => {
    const folder = write(`odd-${odd++}`, { ...slow, [file]: value });
    const said = refusal(() => loadTokenizer(folder));
    expect(said).toContain(file);
    expect(said).toContain(why);
  });

  test("a vocabulary of 200,000 words", () => {
    const many = Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`w${i}`, i + toy]));
    const folder = write("many", { ...slow, "vocab.json": { ...vocabulary, ...many } });
    expect(loadTokenizer(folder).vocabSize).toBe(toy + 200_000);
  });
});

describe("pairs are joined", () => {
  /** The best pair everywhere, from the left, again and again: the definition, in time that grows by the square. */
  const slowly = (symbols: readonly string[], ranks: ReadonlyMap<string, number>): string[] => {
    const parts = [...symbols];
    for (;;) {
      const found = parts
        .slice(1)
        .map((right, i) => ranks.get(`${parts[i]} ${right}`) ?? Number.POSITIVE_INFINITY);
      const best = Math.min(Number.POSITIVE_INFINITY, ...found);
      if (best === Number.POSITIVE_INFINITY) return parts;
      const at = found.indexOf(best);
      parts.splice(at, 2, `${parts[at]}${parts[at + 1]}`);
    }
  };

  test("by rank and from the left, whatever the word and the pairs", () => {
    const symbol = fc.constantFrom("a", "b", "ab", "ba", "aa", "aab");
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("a", "b"), { minLength: 1, maxLength: 30 }),
        fc.uniqueArray(fc.tuple(symbol, symbol), { maxLength: 8, selector: String }),
        (word, pairs) => {
          const ranks = new Map(pairs.map(([left, right], rank) => [`${left} ${right}`, rank]));
          expect(mergeSymbols(word, ranks)).toEqual(slowly(word, ranks));
        },
      ),
    );
  });

  test("in a number of looks at pairs that grows with the word's length, and not by its square", () => {
    let looks = 0;
    class Counted extends Map<string, number> {
      override get(key: string): number | undefined {
        looks++;
        return super.get(key);
      }
    }
    const ranks = new Counted([
      ["a a", 0],
      ["aa aa", 1],
      ["aaaa aaaa", 2],
    ]);
    const joined = mergeSymbols(
      Array.from({ length: 100_000 }, () => "a"),
      ranks,
    );
    expect(joined).toHaveLength(12_500);
    expect(looks).toBeLessThan(1_000_000);
    expect(emoji.encode("a".repeat(200_000))).toHaveLength(emoji.modelMaxLength);
  });
});

test("a special token of a hundred thousand letters is refused in words", () => {
  const token = "x".repeat(100_000);
  const vocabulary = { "<|startoftext|>": 0, [token]: 1 };
  expect(() => new ClipTokenizer({ vocabulary, merges: [], endToken: token })).toThrow(
    /special token x{20}… of 100000 letters/,
  );
});
