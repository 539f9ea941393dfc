import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Tensor, tensor, UserError } from "@spo/torch";
import { readText, requireObject } from "@spo/torch/text-files";
import { z } from "zod";
import { checkConfig, readJsonObject } from "../config.js";
import { mergeSymbols } from "./byte-pairs.js";

/** @internal GPT-2's map from bytes to printable characters, so that a vocabulary in JSON can hold any byte. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : next++));
})();

// White space is Unicode's: unlike `\s` of JavaScript it has U+0085 and not the byte order mark.
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\p{White_Space}\p{L}\p{N}]+/gu;

/** What a CLIP tokenizer's files say. */
export interface ClipTokenizerOptions {
  vocabulary: Readonly<Record<string, number>>;
  /** Pairs of symbols, most frequent first. */
  merges: readonly (readonly [string, string])[];
  startToken?: string;
  endToken?: string;
  /** Fills a text up to the context length. SDXL's second tokenizer has `!`, which makes every `!` of a text that token. */
  padToken?: string;
  /** Special tokens that are found in the normalised text, so in capitals too: `normalized` of their entries. Default: none. */
  normalizedTokens?: readonly string[];
  /** Words beside the vocabulary, as textual inversions have them. One that the vocabulary lacks gets the next id. Default: none. */
  addedTokens?: readonly AddedToken[];
  /** Context length L, from 2. */
  modelMaxLength?: number;
}

/** A word that is one token whatever stands around it. normalized: it is found in the normalised text, so in any case of letters. */
export interface AddedToken {
  content: string;
  normalized: boolean;
}

/**
 * CLIP's byte-level BPE. Source: Radford et al. 2021; ids equal those of the `tokenizers` library.
 *
 * Text is put in NFC, white space becomes single spaces, and letters become lower case one by one (Σ is always σ, never final ς).
 */
export class ClipTokenizer {
  readonly modelMaxLength: number;
  readonly vocabSize: number;
  readonly #options: ClipTokenizerOptions;
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #ranks: ReadonlyMap<string, number>;
  readonly #special: ReadonlyMap<string, number>;
  /** Special tokens as written, and those of normalised text. */
  readonly #written: RegExp;
  readonly #normalized: RegExp;
  readonly #start: number;
  readonly #end: number;
  readonly #pad: number;
  readonly #cache = new Map<string, readonly number[]>();

  constructor(options: ClipTokenizerOptions) {
    const {
      vocabulary,
      merges,
      startToken = "<|startoftext|>",
      endToken = "<|endoftext|>",
      padToken = endToken,
      normalizedTokens = [],
      addedTokens = [],
      modelMaxLength = 77,
    } = options;
    if (!Number.isSafeInteger(modelMaxLength) || modelMaxLength < 2)
      throw new UserError(`A tokenizer's context is a whole number from 2, not ${modelMaxLength}.`, {
        code: "CONFIG",
      });
    this.#options = options;
    const ids = new Map(Object.entries(vocabulary));
    let next = 1 + [...ids.values()].reduce((most, id) => Math.max(most, id), -1);
    for (const { content } of addedTokens) if (!ids.has(content)) ids.set(content, next++);
    this.#vocabulary = ids;
    this.vocabSize = next;
    this.#ranks = new Map(merges.map(([a, b], rank) => [`${a} ${b}`, rank]));
    this.modelMaxLength = modelMaxLength;
    const idOf = (token: string): number => {
      const id = this.#vocabulary.get(token);
      if (id === undefined)
        throw new UserError(`The tokenizer's vocabulary lacks its special token ${token}.`, { code: "DATA" });
      return id;
    };
    const tokens = new Map(
      [startToken, endToken, padToken].map((token) => [token, normalizedTokens.includes(token)]),
    );
    for (const { content, normalized } of addedTokens) tokens.set(content, normalized);
    const written = [...tokens.keys()].filter((token) => !tokens.get(token));
    const found = [...tokens.keys()].filter((token) => tokens.get(token));
    this.#special = new Map([
      ...found.map((token) => [normalize(token), idOf(token)] as const),
      ...written.map((token) => [token, idOf(token)] as const),
    ]);
    this.#written = anyOf(written);
    this.#normalized = anyOf(found.map(normalize));
    this.#start = idOf(startToken);
    this.#end = idOf(endToken);
    this.#pad = idOf(padToken);
  }

  get options(): ClipTokenizerOptions {
    return this.#options;
  }

  /** Ids with start and end token, cut to `modelMaxLength` (the end token stays) but not padded. */
  encode(text: string): number[] {
    const ids: number[] = [];
    const kept = this.modelMaxLength - 2;
    const special = (token: string): void => void ids.push(this.#special.get(token) as number);
    const plain = (normalized: string): void => {
      for (const [word] of normalized.matchAll(WORDS)) {
        if (ids.length >= kept) return; // the rest is cut off
        for (const id of this.#encodeWord(word)) ids.push(id);
      }
    };
    // The tokens that a text is split at come in the odd places.
    for (const [i, part] of text.split(this.#written).entries()) {
      if (i % 2 === 1) special(part);
      else
        for (const [j, piece] of normalize(part).split(this.#normalized).entries())
          (j % 2 === 1 ? special : plain)(piece);
    }
    return [this.#start, ...ids.slice(0, kept), this.#end];
  }

  /** Ids padded to `modelMaxLength`. */
  encodePadded(text: string): number[] {
    const ids = this.encode(text);
    return [...ids, ...Array.from({ length: this.modelMaxLength - ids.length }, () => this.#pad)];
  }

  /** int64 [texts, modelMaxLength]. known: throws for ids that the model does not know. */
  encodeBatch(texts: readonly string[], known?: (ids: readonly number[]) => void): Tensor {
    const ids = texts.flatMap((text) => this.encodePadded(text));
    known?.(ids);
    return tensor(ids, { dtype: "int64", shape: [texts.length, this.modelMaxLength] });
  }

  #encodeWord(word: string): readonly number[] {
    const known = this.#cache.get(word);
    if (known) return known;
    const bytes = [...new TextEncoder().encode(word)].map((byte) => BYTE_CHARACTERS[byte] as string);
    bytes[bytes.length - 1] += "</w>";
    const symbols = mergeSymbols(bytes, this.#ranks);
    const ids = symbols.map((symbol) => this.#vocabulary.get(symbol) ?? this.#end);
    if (this.#cache.size < 100_000 && word.length < 100) this.#cache.set(word, ids);
    return ids;
  }
}

/** Letters of a special or added token: published ones have some twenty. */
const MOST_LETTERS = 1000;

/** Matches any of the given tokens, nothing where there are none. Throws a UserError (`DATA`) for one of more than `MOST_LETTERS`. */
function anyOf(tokens: readonly string[]): RegExp {
  const long = tokens.find(({ length }) => length > MOST_LETTERS);
  if (long !== undefined)
    throw new UserError(
      `The tokenizer has the special token ${long.slice(0, 20)}… of ${long.length} letters; the most is ${MOST_LETTERS}.`,
      { code: "DATA", hint: "Copy or download the tokenizer's folder again." },
    );
  const escaped = [...tokens]
    .sort((a, b) => b.length - a.length)
    .map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(${escaped.join("|") || "(?!)"})`, "g");
}

/** NFC, single spaces, lower case by code point. */
function normalize(text: string): string {
  let lower = "";
  // Whole strings are lower-cased by context in JavaScript (a final Σ becomes ς); the reference goes letter by letter.
  for (const letter of text.normalize("NFC").replace(/\p{White_Space}+/gu, " "))
    lower += letter.toLowerCase();
  return lower;
}

/** A tokenizer_config.json, as far as it says what ids a text has. */
const TokenizerConfig = z.looseObject({
  /** Huge where it is not known. */
  model_max_length: z
    .union([z.int().min(2), z.number().min(1e6)], { error: "is a whole number from 2" })
    .nullish(),
  padding_side: z.literal("right").nullish(),
  truncation_side: z.literal("right").nullish(),
});

/** An entry of a token. Spaces to its sides make no difference to CLIP's words, so that `lstrip` and `rstrip` need no reading. */
const Token = z.union(
  [
    z.string(),
    z.looseObject({
      content: z.string(),
      normalized: z.boolean().optional(),
      single_word: z.literal(false).optional(),
    }),
  ],
  { error: 'is no token: a text, or an object with "content" and without "single_word"' },
);
type Token = z.output<typeof Token>;

const Specials = z.looseObject({
  bos_token: Token.nullish(),
  eos_token: Token.nullish(),
  unk_token: Token.nullish(),
  pad_token: Token.nullish(),
  additional_special_tokens: z.array(Token).nullish(),
});

const FastTokenizer = z.looseObject({
  added_tokens: z.array(Token).nullish(),
  model: z
    .looseObject({
      type: z.literal("BPE").nullish(),
      vocab: z.record(z.string(), z.unknown()),
      merges: z.array(z.unknown()),
    })
    .optional(),
});

/**
 * Reads a tokenizer folder: tokenizer.json, or without it vocab.json and merges.txt; beside these tokenizer_config.json,
 * special_tokens_map.json and added_tokens.json.
 *
 * Throws a UserError (`DATA`, `CONFIG`) for what is missing, damaged or of another kind. Source: transformers 5, CLIPTokenizer.
 */
export function loadTokenizer(folder: string): ClipTokenizer {
  const at = (name: string): string => join(folder, name);
  const fast = existsSync(at("tokenizer.json"))
    ? checkConfig(FastTokenizer, readJsonObject(at("tokenizer.json"), { large: true }), at("tokenizer.json"))
    : undefined;
  const { vocabulary, merges } = fast?.model
    ? {
        vocabulary: vocabularyOf(fast.model.vocab, at("tokenizer.json")),
        merges: pairsOf(fast.model.merges, at("tokenizer.json")),
      }
    : readVocabulary(folder);
  const config = readIfThere(at("tokenizer_config.json"));
  const settings = checkConfig(TokenizerConfig, config, at("tokenizer_config.json"));
  const map = at("special_tokens_map.json");
  const specials = {
    ...checkConfig(Specials, config, at("tokenizer_config.json")),
    ...checkConfig(Specials, readIfThere(map), map),
  };
  const { model_max_length: length } = settings;
  const padToken = contentOf(specials.pad_token);
  const added = addedTokensOf(folder, config, fast?.added_tokens, specials.additional_special_tokens);
  if (padToken !== undefined && !Object.hasOwn(vocabulary, padToken))
    added.push({ content: padToken, normalized: false });
  return new ClipTokenizer({
    vocabulary,
    merges,
    startToken: contentOf(specials.bos_token),
    endToken: contentOf(specials.eos_token),
    padToken,
    normalizedTokens: normalizedOf(specials, fast?.added_tokens),
    addedTokens: added.filter(
      ({ content }, i) =>
        ![specials.bos_token, specials.eos_token].some((token) => contentOf(token) === content) &&
        added.findIndex((other) => other.content === content) === i,
    ),
    modelMaxLength: typeof length === "number" && length < 1e6 ? length : undefined,
  });
}

/** vocab.json and merges.txt. */
function readVocabulary(folder: string): { vocabulary: Record<string, number>; merges: [string, string][] } {
  const vocabulary = join(folder, "vocab.json");
  const path = join(folder, "merges.txt");
  const ids = vocabularyOf(readJsonObject(vocabulary, { large: true }), vocabulary);
  if (!existsSync(path))
    throw new UserError(`${path} does not exist.`, {
      code: "DATA",
      hint: "A part of the folder is missing: copy or download the whole folder again.",
    });
  return { vocabulary: ids, merges: pairsOf(parseMerges(readText(path)), path) };
}

/** The most that an id of a token can be. */
const MOST_ID = 2 ** 24;

function vocabularyOf(found: Readonly<Record<string, unknown>>, path: string): Record<string, number> {
  for (const [token, id] of Object.entries(found))
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > MOST_ID)
      throw damaged(path, `the id of ${shortened(token)} is no whole number from 0 to ${MOST_ID}`);
  return found as Record<string, number>;
}

/** Merges as pairs, or as texts with a space between two symbols. */
function pairsOf(found: readonly unknown[], path: string): [string, string][] {
  return found.map((entry) => {
    const pair = typeof entry === "string" ? entry.split(" ") : entry;
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((each) => typeof each === "string");
    if (!isPair)
      throw damaged(path, `${shortened(Array.isArray(pair) ? pair.join(" ") : pair)} is no pair of symbols`);
    return pair as [string, string];
  });
}

const damaged = (path: string, why: string): UserError =>
  new UserError(`${path} is damaged: ${why}.`, {
    code: "DATA",
    hint: "Copy or download the tokenizer's folder again.",
  });

function shortened(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** @internal The pairs of a merges.txt. */
export const parseMerges = (text: string): [string, string][] =>
  text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#version"))
    .map((line) => line.trim().split(" ") as [string, string]);

/** Words beside the vocabulary, in the order of their ids: of tokenizer.json, or of the older files. */
function addedTokensOf(
  folder: string,
  config: Readonly<Record<string, unknown>>,
  fast: readonly Token[] | null | undefined,
  special: readonly Token[] | null | undefined,
): AddedToken[] {
  const path = join(folder, "added_tokens.json");
  const byId = ([, a]: [string, unknown], [, b]: [string, unknown]): number => Number(a) - Number(b);
  const decoder = requireObject(
    config.added_tokens_decoder ?? {},
    `${join(folder, "tokenizer_config.json")}: added_tokens_decoder`,
  );
  const entries = fast ?? [
    // Words of a folder's own file are matched in the normalised text. Source: transformers 5, observed.
    ...Object.entries(readIfThere(path))
      .sort(byId)
      .map(([content]) => ({ content, normalized: true })),
    ...Object.entries(decoder)
      .sort(([a], [b]) => Number(a) - Number(b))
      .map(([id, token]) =>
        checkConfig(Token, token, `${join(folder, "tokenizer_config.json")}: added_tokens_decoder, ${id}`),
      ),
  ];
  return [...entries, ...(special ?? [])].flatMap((token) => {
    const content = contentOf(token);
    if (content === undefined || content === "") return [];
    return [{ content, normalized: typeof token === "object" && token.normalized === true }];
  });
}

/**
 * Tokens that are matched in the normalised text. tokenizer.json has the last word; without it a token's last entry counts, and one that is
 * written as plain text is not. Source: transformers 5, observed.
 */
function normalizedOf(
  specials: z.output<typeof Specials>,
  added: readonly Token[] | null | undefined,
): string[] {
  const { bos_token, eos_token, unk_token, pad_token } = specials;
  const found = new Map<string, boolean>();
  for (const entry of added ?? [bos_token, eos_token, unk_token, pad_token]) {
    const content = contentOf(entry);
    if (content !== undefined) found.set(content, typeof entry === "object" && entry?.normalized === true);
  }
  return [...found].flatMap(([content, normalized]) => (normalized ? [content] : []));
}

const readIfThere = (path: string): Record<string, unknown> =>
  existsSync(path) ? readJsonObject(path, { large: true }) : {};

/** A special token is written as text or as `{ content }`. */
const contentOf = (token: Token | null | undefined): string | undefined =>
  typeof token === "string" ? token : token?.content;
