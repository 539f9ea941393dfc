import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Tensor, tensor, UserError, writeFileAtomic } from "@spo/torch";
import { z } from "zod";
import { checkConfig, readJson, readJsonObject } from "../config.js";
import { type CharacterMap, mapCharacters, readCharacterMap } from "./character-map.js";
import { readSentencePiece } from "./sentencepiece-model.js";
import { Unigram } from "./unigram.js";

/** Marks the start of a word. */
const WORD = "▁";
const [PAD, END] = ["<pad>", "</s>"];

/** What a T5 tokenizer's files say. */
export interface T5TokenizerOptions {
  /** Pieces with their log-probabilities, in the order of their ids. */
  pieces: readonly (readonly [piece: string, score: number])[];
  unknownId: number;
  /** Compiled character map, as base64. */
  characterMap: string;
  /** Tokens that are found in the text as it is written, and their ids. `</s>` and `<pad>` are among them. */
  specialTokens: Readonly<Record<string, number>>;
}

/**
 * T5's tokenizer: characters are mapped, words split at blanks, each segmented into its likeliest pieces.
 *
 * Ids equal those of the `tokenizers` library. Own code, for the well-kept one in JavaScript maps characters without regard to grapheme
 * clusters, and so gives other ids for some emoji. Source: Kudo 2018; Kudo & Richardson 2018; huggingface/tokenizers.
 */
export class T5Tokenizer {
  readonly options: T5TokenizerOptions;
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly #unigram: Unigram;
  readonly #map: CharacterMap;
  readonly #special: RegExp;
  readonly #pad: number;
  readonly #end: number;

  /** Throws a UserError (`DATA`) for a tokenizer without end or padding, or with a damaged character map. */
  constructor(options: T5TokenizerOptions) {
    this.options = options;
    const { pieces, unknownId, characterMap, specialTokens } = options;
    const idOf = (token: string): number => {
      const id = specialTokens[token];
      if (id !== undefined) return id;
      throw new UserError(`The T5 tokenizer lacks its special token ${token}.`, { code: "DATA" });
    };
    [this.#pad, this.#end] = [idOf(PAD), idOf(END)];
    this.#unigram = new Unigram(pieces, unknownId);
    this.#map = readCharacterMap(Buffer.from(characterMap, "base64"));
    this.#special = new RegExp(
      `(${Object.keys(specialTokens)
        .sort((a, b) => b.length - a.length)
        .map((token) => token.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
        .join("|")})`,
    );
    this.vocabSize = 1 + Math.max(pieces.length - 1, ...Object.values(specialTokens));
  }

  /** Ids of a text with the end token, neither cut nor padded. */
  encode(text: string): number[] {
    const ids = text.split(this.#special).flatMap((part) => {
      const special = this.options.specialTokens[part];
      if (special !== undefined) return [special];
      const words = mapCharacters(part, this.#map).split(/[ ▁]+/);
      return words.flatMap((word) => (word === "" ? [] : this.#unigram.encode(WORD + word)));
    });
    return [...ids, this.#end];
  }

  /** Ids of a text, cut to `length`, of which the last is the end token, or padded to it. */
  encodePadded(text: string, length: number): number[] {
    const ids = this.encode(text);
    if (ids.length > length) return [...ids.slice(0, length - 1), this.#end];
    return [...ids, ...Array<number>(length - ids.length).fill(this.#pad)];
  }

  /** int64 [n, length]. check: sees all ids before they are a tensor. */
  encodeBatch(texts: readonly string[], length: number, check?: (ids: readonly number[]) => void): Tensor {
    const ids = texts.flatMap((text) => this.encodePadded(text, length));
    check?.(ids);
    return tensor(ids, { dtype: "int64", shape: [texts.length, length] });
  }
}

const Added = z.object({ id: z.int().min(0), content: z.string().min(1) });
const Normalizer = z.looseObject({ type: z.string(), precompiled_charsmap: z.string().optional() });

/** What is read of a tokenizer.json. */
const TokenizerFile = z.looseObject({
  added_tokens: z.array(Added),
  normalizer: z.union([
    z.looseObject({ type: z.literal("Sequence"), normalizers: z.array(Normalizer) }),
    Normalizer,
  ]),
  model: z.looseObject({
    type: z.literal("Unigram", { error: 'is not "Unigram", as T5\'s is' }),
    vocab: z.array(z.tuple([z.string(), z.number()])).min(1),
    unk_id: z.int().min(0),
    byte_fallback: z.literal(false).optional(),
  }),
});

/**
 * The T5 tokenizer of a folder: of tokenizer.json, or of spiece.model with the `extra_ids` of tokenizer_config.json behind its pieces, the
 * highest number first.
 *
 * Throws a UserError (`DATA`, `CONFIG`) for files that are missing, damaged or of another kind of tokenizer.
 */
export function loadT5Tokenizer(folder: string): T5Tokenizer {
  const whole = join(folder, "tokenizer.json");
  if (existsSync(whole)) return new T5Tokenizer(optionsOfJson(readJson(whole, { large: true }), whole));
  const pieces = join(folder, "spiece.model");
  if (!existsSync(pieces))
    throw new UserError(`${folder} has neither tokenizer.json nor spiece.model.`, {
      code: "DATA",
      hint: "Give the folder of a T5 tokenizer, as tokenizer_3 of SD3 and tokenizer_2 of FLUX are.",
    });
  return new T5Tokenizer(optionsOfPieces(folder, pieces));
}

function optionsOfJson(found: unknown, path: string): T5TokenizerOptions {
  const { added_tokens: added, normalizer, model } = checkConfig(TokenizerFile, found, path);
  const steps =
    "normalizers" in normalizer ? (normalizer.normalizers as z.output<typeof Normalizer>[]) : [normalizer];
  const map = steps.find((step) => step.type === "Precompiled")?.precompiled_charsmap;
  if (map === undefined)
    throw new UserError(`${path} has no precompiled map of characters, which T5's has.`, {
      code: "CONFIG",
      hint: "Give the tokenizer of a T5 of version 1.1.",
    });
  return {
    pieces: model.vocab,
    unknownId: model.unk_id,
    characterMap: map,
    specialTokens: Object.fromEntries(added.map(({ id, content }) => [content, id])),
  };
}

function optionsOfPieces(folder: string, path: string): T5TokenizerOptions {
  const { pieces, unknownId, characterMap } = readSentencePiece(readFileSync(path), path);
  const config = join(folder, "tokenizer_config.json");
  const { extra_ids: extra = 100 } = existsSync(config) ? readJsonObject(config) : {};
  const count = checkConfig(z.int().min(0).max(10_000), extra, `${config}: extra_ids`);
  const all = [
    ...pieces,
    ...Array.from({ length: count }, (_, i): [string, number] => [`<extra_id_${count - 1 - i}>`, 0]),
  ];
  const specials = new Set([PAD, END, pieces[unknownId]?.[0]]);
  return {
    pieces: all,
    unknownId,
    characterMap: Buffer.from(characterMap).toString("base64"),
    specialTokens: Object.fromEntries(
      all.flatMap(([piece], id) => (specials.has(piece) || id >= pieces.length ? [[piece, id]] : [])),
    ),
  };
}

/** Writes tokenizer.json and tokenizer_config.json: `loadT5Tokenizer` and transformers then give the same ids. */
export function saveT5Tokenizer(folder: string, { options }: T5Tokenizer): void {
  const { pieces, unknownId, characterMap, specialTokens } = options;
  const metaspace = { type: "Metaspace", replacement: WORD, prepend_scheme: "always", split: true };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
  const end = { SpecialToken: { id: END, type_id: 0 } };
  const content = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: Object.entries(specialTokens)
      .sort(([, a], [, b]) => a - b)
      .map(([content, id]) => ({ id, content, ...flags })),
    normalizer: { type: "Precompiled", precompiled_charsmap: characterMap },
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, metaspace] },
    post_processor: {
      type: "TemplateProcessing",
      single: [text("A"), end],
      pair: [text("A"), end, text("B"), end],
      special_tokens: { [END]: { id: END, ids: [specialTokens[END]], tokens: [END] } },
    },
    decoder: metaspace,
    model: { type: "Unigram", unk_id: unknownId, vocab: pieces, byte_fallback: false },
  };
  const settings = {
    eos_token: END,
    extra_ids: Object.keys(specialTokens).filter((token) => token.startsWith("<extra_id_")).length,
    model_max_length: 512,
    pad_token: PAD,
    tokenizer_class: "T5Tokenizer",
    unk_token: pieces[unknownId]?.[0],
  };
  writeFileAtomic(join(folder, "tokenizer.json"), JSON.stringify(content));
  writeFileAtomic(join(folder, "tokenizer_config.json"), `${JSON.stringify(settings, null, 2)}\n`);
}
