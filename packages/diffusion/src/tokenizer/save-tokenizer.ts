// Writes the tokenizer folder that `loadTokenizer` and transformers read, and makes the published tokenizer for files that bring none.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "@spo/torch";
import { BYTE_CHARACTERS, ClipTokenizer, type ClipTokenizerOptions, parseMerges } from "./clip-tokenizer.js";

const START = "<|startoftext|>";
const END = "<|endoftext|>";

/** Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json: `loadTokenizer` then gives the same ids. */
export function saveTokenizer(folder: string, { options, modelMaxLength }: ClipTokenizer): void {
  const { vocabulary, merges, startToken = START, endToken = END, padToken = endToken } = options;
  const entry = (content: string) => ({
    content,
    lstrip: false,
    normalized: options.normalizedTokens?.includes(content) ?? false,
    rstrip: false,
    single_word: false,
  });
  const special = {
    bos_token: entry(startToken),
    eos_token: entry(endToken),
    unk_token: entry(endToken),
    pad_token: entry(padToken),
  };
  const settings = {
    add_prefix_space: false,
    ...Object.fromEntries(
      Object.entries(special).map(([role, token]) => [role, { __type: "AddedToken", ...token }]),
    ),
    ...(options.addedTokens?.length && { added_tokens_decoder: decoderOf(options) }),
    do_lower_case: true,
    errors: "replace",
    model_max_length: modelMaxLength,
    tokenizer_class: "CLIPTokenizer",
  };
  const put = (name: string, text: string): void => writeFileAtomic(join(folder, name), text);
  put("vocab.json", JSON.stringify(vocabulary));
  put("merges.txt", `${["#version: 0.2", ...merges.map((pair) => pair.join(" "))].join("\n")}\n`);
  put("tokenizer_config.json", `${JSON.stringify(settings, null, 2)}\n`);
  put("special_tokens_map.json", `${JSON.stringify(special, null, 2)}\n`);
}

/** Words beside the vocabulary by their ids, as transformers writes them. */
function decoderOf({ vocabulary, addedTokens = [] }: ClipTokenizerOptions): Record<string, object> {
  let next = 1 + Object.values(vocabulary).reduce((most, id) => Math.max(most, id), -1);
  const flags = { lstrip: false, rstrip: false, single_word: false, special: false };
  return Object.fromEntries(
    addedTokens.map(({ content, normalized }) => [
      String(vocabulary[content] ?? next++),
      { content, normalized, ...flags },
    ]),
  );
}

/**
 * The tokenizer of all published models: CLIP's 49,408 entries. padToken: `!` for SDXL's second one; default the end token.
 *
 * The vocabulary follows from the merges: the bytes, the bytes at a word's end, what each merge gives, the two special tokens.
 * Source: openai/CLIP, simple_tokenizer.py.
 */
export function publishedTokenizer({ padToken }: { padToken?: string } = {}): ClipTokenizer {
  const merges = parseMerges(
    readFileSync(new URL("../../vocabulary/clip-merges.txt", import.meta.url), "utf8"),
  );
  // The printable bytes stand first, as they do in the table of the source.
  const bytes = BYTE_CHARACTERS.toSorted((a, b) => (a.codePointAt(0) ?? 0) - (b.codePointAt(0) ?? 0));
  const tokens = [
    ...bytes,
    ...bytes.map((byte) => `${byte}</w>`),
    ...merges.map(([a, b]) => a + b),
    START,
    END,
  ];
  return new ClipTokenizer({
    vocabulary: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
    startToken: START,
    endToken: END,
    padToken,
    normalizedTokens: [START],
  });
}
