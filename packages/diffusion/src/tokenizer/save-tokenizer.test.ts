import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { loadTokenizer } from "./clip-tokenizer.js";
import { publishedTokenizer, saveTokenizer } from "./save-tokenizer.js";

const root = mkdtempSync(join(tmpdir(), "tokenizer-"));
afterAll(() => rmSync(root, { recursive: true }));

describe.each([
  ["the first", undefined],
  ["SDXL's second", "!"],
])("the published tokenizer, %s,", (name, padToken) => {
  const tokenizer = publishedTokenizer({ padToken });

  test("has CLIP's vocabulary", () => {
    expect(tokenizer.vocabSize).toBe(49408);
    expect(tokenizer.encode("a photo of a cat")).toEqual([49406, 320, 1125, 539, 320, 2368, 49407]);
  });

  test("saved and loaded gives the same ids for any text", () => {
    saveTokenizer(join(root, name), tokenizer);
    const loaded = loadTokenizer(join(root, name));
    const word = fc.oneof(
      fc.string({ unit: "binary", maxLength: 12 }),
      fc.constantFrom("<|startoftext|>", "<|ENDOFTEXT|>", "<|endoftext|>", "!", "Σ", "cat's"),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        const text = words.join(" ");
        expect(loaded.encodePadded(text)).toEqual(tokenizer.encodePadded(text));
      }),
    );
  });
});

const golden = fileURLToPath(
  new URL("../../../../../shared/fixtures/clip-tokenizer/cases.json", import.meta.url),
);

test.skipIf(!existsSync(golden))(
  "the published tokenizers give the golden ids (skipped where ../shared/fixtures is not there)",
  () => {
    const { cases } = JSON.parse(readFileSync(golden, "utf8")) as {
      cases: { prompt: string; ids_sd15: number[]; ids_sdxl_2: number[] }[];
    };
    expect(cases.length).toBeGreaterThan(100);
    const [first, second] = [publishedTokenizer(), publishedTokenizer({ padToken: "!" })];
    for (const { prompt, ids_sd15, ids_sdxl_2 } of cases) {
      expect(first.encodePadded(prompt), prompt).toEqual(ids_sd15);
      expect(second.encodePadded(prompt), prompt).toEqual(ids_sdxl_2);
    }
  },
);
