// @ts-check
// Makes tokenizer/: a byte-level BPE in CLIP's files, small enough for the embedded model. Every word of every caption is one token.
//
//   node examples/emoji/tokenizer.mjs
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const MAX_LENGTH = 12;

/** Words beside the captions' own, so that a prompt may say a little more. */
const MORE =
  "a an the of and with in on big small round cute happy sad red orange yellow green blue purple pink brown black white grey golden dark light bright";

/** @type {{ caption: string }[]} */
const concepts = JSON.parse(readFileSync(join(here, "concepts.json"), "utf8"));
const words = [...new Set([...concepts.flatMap((c) => c.caption.split(" ")), ...MORE.split(" ")])].sort();

const printable = (/** @type {number} */ b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
let next = 256;
const bytes = Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));

// A word is built from its end: o</w> → to</w> → ato</w> … Each merge takes a letter and a symbol that ends the word, so none can match
// inside a word, and the ranks cannot get in each other's way.
const symbols = [...bytes, ...bytes.map((c) => `${c}</w>`)];
/** @type {Map<string, [string, string]>} */
const merges = new Map();
for (const word of words) {
  const letters = [...word];
  let suffix = `${letters.pop()}</w>`;
  for (const letter of letters.reverse()) {
    merges.set(letter + suffix, [letter, suffix]);
    suffix = letter + suffix;
  }
}
const ordered = [...merges].sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1));
const vocabulary = Object.fromEntries(
  [...symbols, ...ordered.map(([symbol]) => symbol), "<|startoftext|>", "<|endoftext|>"].map((symbol, id) => [
    symbol,
    id,
  ]),
);

const folder = join(here, "tokenizer");
mkdirSync(folder, { recursive: true });
const special = (/** @type {string} */ content) => ({
  content,
  lstrip: false,
  normalized: true,
  rstrip: false,
  single_word: false,
});
/** @param {string} name @param {string} text */
const write = (name, text) => writeFileSync(join(folder, name), text);
write("vocab.json", `${JSON.stringify(vocabulary)}\n`);
write("merges.txt", `#version: 0.2\n${ordered.map(([, pair]) => pair.join(" ")).join("\n")}\n`);
const tokens = {
  bos_token: special("<|startoftext|>"),
  eos_token: special("<|endoftext|>"),
  unk_token: special("<|endoftext|>"),
  pad_token: "<|endoftext|>",
};
write("special_tokens_map.json", `${JSON.stringify(tokens, null, 2)}\n`);
write(
  "tokenizer_config.json",
  `${JSON.stringify({ tokenizer_class: "CLIPTokenizer", model_max_length: MAX_LENGTH, add_prefix_space: false, do_lower_case: true, errors: "replace" }, null, 2)}\n`,
);
