import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { mapCharacters, readCharacterMap } from "./character-map.js";
import { readSentencePiece } from "./sentencepiece-model.js";
import { loadT5Tokenizer, saveT5Tokenizer, T5Tokenizer } from "./t5-tokenizer.js";
import { Unigram } from "./unigram.js";

const scratch = mkdtempSync(join(tmpdir(), "spo-t5-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** A map of `A` to `a` and of `é` (two bytes) to `e`, as darts lays a trie out: label, whether a value stands there, offset. */
function characterMap(): Uint8Array {
  const trie = new Uint32Array(512);
  const unit = (label: number, offset: number, value = false): number =>
    label | (value ? 256 : 0) | (offset << 10);
  trie[0] = unit(0, 1);
  trie[1 ^ 0x41] = unit(0x41, 2, true);
  trie[1 ^ 0x41 ^ 2] = 0x80000000; // its replacement starts at 0
  trie[1 ^ 0xc3] = unit(0xc3, 256);
  trie[1 ^ 0xc3 ^ 256 ^ 0xa9] = unit(0xa9, 3, true);
  trie[1 ^ 0xc3 ^ 256 ^ 0xa9 ^ 3] = 0x80000000 + 2;
  const size = new Uint8Array(new Uint32Array([trie.byteLength]).buffer);
  return Uint8Array.from([...size, ...new Uint8Array(trie.buffer), ...Buffer.from("a\0e\0")]);
}

const pieces: [string, number][] = [
  ["<pad>", 0],
  ["</s>", 0],
  ["<unk>", 0],
  ["▁", -2],
  ["▁c", -3],
  ["a", -1],
  ["ca", -1.5],
  ["t", -2],
  ["at", -2.5],
];
const tokenizer = new T5Tokenizer({
  pieces,
  unknownId: 2,
  characterMap: Buffer.from(characterMap()).toString("base64"),
  specialTokens: { "<pad>": 0, "</s>": 1, "<unk>": 2 },
});

test("characters are replaced one by one, or a short cluster by what its start becomes", () => {
  const map = readCharacterMap(characterMap());
  expect(mapCharacters("cAté", map)).toBe("cate");
  expect(mapCharacters("A\u0301", map)).toBe("a"); // a cluster of three bytes goes by its shortest start
  expect(mapCharacters("A\u0301\u0302\u0303", map)).toBe("a\u0301\u0302\u0303"); // a long one by code points
});

test("a word has the segmentation of the largest sum, of equal ones the first, and an unknown run is one piece", () => {
  const unigram = new Unigram(pieces, 2);
  expect(unigram.encode("▁cat")).toEqual([4, 8]); // ▁c at: −5.5; ▁ ca t: −5.5 too, but its last piece is met later
  expect(unigram.encode("▁a")).toEqual([3, 5]);
  expect(unigram.encode("▁c😀ж")).toEqual([4, 2]);
  expect(unigram.encode("aжa")).toEqual([5, 2, 5]);
  expect(unigram.encode("")).toEqual([]);
});

test("words are split at blanks, special tokens stand for themselves, and the end closes the text also where it is cut", () => {
  expect(tokenizer.encode("  cAt   at ")).toEqual([4, 8, 3, 8, 1]);
  expect(tokenizer.encode("a cat")).toEqual([3, 5, 4, 8, 1]);
  expect(tokenizer.encode("a<pad>▁a")).toEqual([3, 5, 0, 3, 5, 1]);
  expect(tokenizer.encode("")).toEqual([1]);
  expect(tokenizer.encodePadded("a cat", 4)).toEqual([3, 5, 4, 1]);
  expect(tokenizer.encodePadded("a", 5)).toEqual([3, 5, 1, 0, 0]);
  expect(tokenizer.encodeBatch(["a", ""], 2).toNumbers()).toEqual([3, 1, 1, 0]);
});

test("what is written is read again", () => {
  saveT5Tokenizer(scratch, tokenizer);
  expect(loadT5Tokenizer(scratch).options).toEqual(tokenizer.options);
});

test("a sentencepiece model gives its pieces, which of them is unknown, and its map; a torn one is refused", () => {
  const field = (number: number, bytes: readonly number[]): number[] => [
    number * 8 + 2,
    bytes.length,
    ...bytes,
  ];
  const piece = (text: string, score: number, type: number): number[] =>
    field(1, [
      ...field(1, [...Buffer.from(text)]),
      ...[2 * 8 + 5, ...new Uint8Array(new Float32Array([score]).buffer)],
      ...[3 * 8, type],
    ]);
  const bytes = Uint8Array.from([
    ...[...piece("<pad>", 0, 3), ...piece("</s>", 0, 3), ...piece("<unk>", 0, 2), ...piece("▁a", -1.5, 1)],
    ...[...field(2, [3 * 8, 1]), ...field(3, field(2, [7, 8, 9]))],
  ]);
  const found = readSentencePiece(bytes, "spiece.model");
  expect(found.pieces).toEqual([
    ["<pad>", 0],
    ["</s>", 0],
    ["<unk>", 0],
    ["▁a", -1.5],
  ]);
  expect([found.unknownId, [...found.characterMap]]).toEqual([2, [7, 8, 9]]);
  expect(() => readSentencePiece(bytes.subarray(0, bytes.length - 2), "spiece.model")).toThrow(
    expect.objectContaining({ code: "DATA" }),
  );
  const pairs = Uint8Array.from([...bytes, ...field(2, [3 * 8, 2])]);
  expect(() => readSentencePiece(pairs, "spiece.model")).toThrow("spiece.model is no unigram model");
});

test("a folder without a tokenizer, and one of another kind, are refused", () => {
  const folder = join(scratch, "other");
  mkdirSync(folder);
  expect(() => loadT5Tokenizer(folder)).toThrow("has neither tokenizer.json nor spiece.model");
  writeFileSync(
    join(folder, "tokenizer.json"),
    JSON.stringify({ added_tokens: [], normalizer: { type: "NFC" }, model: { type: "BPE" } }),
  );
  expect(() => loadT5Tokenizer(folder)).toThrow(expect.objectContaining({ code: "CONFIG" }));
});
