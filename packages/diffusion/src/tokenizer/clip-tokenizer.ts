import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Tensor, tensor, UserError } from "@spo/torch";
import { readText } from "@spo/torch/text-files";
import { readJson } from "../config.js";

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
  /** What fills up to the context length. SDXL's second tokenizer has `!`, which makes every `!` of a text that token. */
  padToken?: string;
  /** Special tokens that are found in the normalised text, so in capitals too: `normalized` of their entries. Default: none. */
  normalizedTokens?: readonly string[];
  /** Context length L. */
  modelMaxLength?: number;
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
      modelMaxLength = 77,
    } = options;
    this.#options = options;
    this.#vocabulary = new Map(Object.entries(vocabulary));
    this.#ranks = new Map(merges.map(([a, b], rank) => [`${a} ${b}`, rank]));
    this.modelMaxLength = modelMaxLength;
    this.vocabSize = Math.max(...this.#vocabulary.values()) + 1;
    const idOf = (token: string): number => {
      const id = this.#vocabulary.get(token);
      if (id === undefined)
        throw new UserError(`The tokenizer's vocabulary lacks its special token ${token}.`, { code: "DATA" });
      return id;
    };
    this.#special = new Map([startToken, endToken, padToken].map((token) => [token, idOf(token)]));
    const tokens = [...this.#special.keys()];
    this.#written = anyOf(tokens.filter((token) => !normalizedTokens.includes(token)));
    this.#normalized = anyOf(tokens.filter((token) => normalizedTokens.includes(token)));
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
    const special = (token: string): void => void ids.push(this.#special.get(token) as number);
    const plain = (normalized: string): void => {
      for (const [word] of normalized.matchAll(WORDS)) ids.push(...this.#encodeWord(word));
    };
    // A split leaves what it was split at in the odd places.
    for (const [i, part] of text.split(this.#written).entries()) {
      if (i % 2 === 1) special(part);
      else
        for (const [j, piece] of normalize(part).split(this.#normalized).entries())
          (j % 2 === 1 ? special : plain)(piece);
    }
    return [this.#start, ...ids.slice(0, this.modelMaxLength - 2), this.#end];
  }

  /** Ids padded to `modelMaxLength`. */
  encodePadded(text: string): number[] {
    const ids = this.encode(text);
    return [...ids, ...Array.from({ length: this.modelMaxLength - ids.length }, () => this.#pad)];
  }

  /** int64 [texts, modelMaxLength]. */
  encodeBatch(texts: readonly string[]): Tensor {
    return tensor(
      texts.flatMap((text) => this.encodePadded(text)),
      { dtype: "int64", shape: [texts.length, this.modelMaxLength] },
    );
  }

  #encodeWord(word: string): readonly number[] {
    const known = this.#cache.get(word);
    if (known) return known;
    const symbols = [...new TextEncoder().encode(word)].map((byte) => BYTE_CHARACTERS[byte] as string);
    symbols[symbols.length - 1] += "</w>";
    while (symbols.length > 1) {
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i + 1 < symbols.length; i++)
        best = Math.min(best, this.#ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? best);
      if (best === Number.POSITIVE_INFINITY) break;
      for (let i = 0; i + 1 < symbols.length; i++) {
        if (this.#ranks.get(`${symbols[i]} ${symbols[i + 1]}`) === best)
          symbols.splice(i, 2, `${symbols[i]}${symbols[i + 1]}`);
      }
    }
    const ids = symbols.map((symbol) => this.#vocabulary.get(symbol) ?? this.#end);
    if (this.#cache.size < 100_000) this.#cache.set(word, ids);
    return ids;
  }
}

/** Splits a text at the given tokens and keeps them; nowhere where there are none. */
function anyOf(tokens: readonly string[]): RegExp {
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

/**
 * Reads a tokenizer folder: vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json.
 *
 * Throws a UserError (`DATA`) for what is missing or damaged.
 */
export function loadTokenizer(folder: string): ClipTokenizer {
  const vocabulary = readJson(join(folder, "vocab.json")) as Record<string, number>;
  const path = join(folder, "merges.txt");
  if (!existsSync(path))
    throw new UserError(`${path} does not exist.`, {
      code: "DATA",
      hint: "A part of the folder is missing: copy or download the whole folder again.",
    });
  const merges = parseMerges(readText(path));
  const odd = merges.findIndex((pair) => pair.length !== 2);
  if (odd >= 0 || Object.values(vocabulary).some((id) => !Number.isSafeInteger(id)))
    throw new UserError(
      odd >= 0
        ? `${path} is damaged: ${JSON.stringify(merges[odd]?.join(" "))} is no pair of symbols.`
        : `${join(folder, "vocab.json")} is damaged: its ids are no whole numbers.`,
      { code: "DATA", hint: "Copy or download the tokenizer's folder again." },
    );
  const settings = readIfThere(join(folder, "tokenizer_config.json"));
  const specials = { ...settings, ...readIfThere(join(folder, "special_tokens_map.json")) };
  return new ClipTokenizer({
    vocabulary,
    merges,
    startToken: contentOf(specials.bos_token),
    endToken: contentOf(specials.eos_token),
    padToken: contentOf(specials.pad_token),
    normalizedTokens: normalizedOf(folder, specials),
    modelMaxLength:
      typeof settings.model_max_length === "number" && settings.model_max_length < 1e6
        ? settings.model_max_length
        : 77,
  });
}

/** @internal The pairs of a merges.txt. */
export const parseMerges = (text: string): [string, string][] =>
  text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#version"))
    .map((line) => line.trim().split(" ") as [string, string]);

/**
 * Tokens that are matched in the normalised text. tokenizer.json has the last word; without it a token's last entry counts, and one that is
 * written as plain text is not. Source: transformers 5, observed.
 */
function normalizedOf(folder: string, specials: Readonly<Record<string, unknown>>): string[] {
  const { added_tokens: added } = readIfThere(join(folder, "tokenizer.json"));
  const entries = Array.isArray(added)
    ? (added as unknown[])
    : ["bos_token", "eos_token", "unk_token", "pad_token"].map((role) => specials[role]);
  const found = new Map<string, boolean>();
  for (const entry of entries) {
    const content = contentOf(entry);
    if (content !== undefined)
      found.set(
        content,
        typeof entry === "object" && (entry as { normalized?: unknown }).normalized === true,
      );
  }
  return [...found].flatMap(([content, normalized]) => (normalized ? [content] : []));
}

const readIfThere = (path: string): Record<string, unknown> =>
  existsSync(path) ? (readJson(path) as Record<string, unknown>) : {};

/** A special token is written as text or as `{ content }`. */
function contentOf(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return typeof token === "object" && token !== null
    ? String((token as { content: unknown }).content)
    : undefined;
}
