// Weighted prompts as contexts of a CLIP text encoder: 75 tokens each between a start and an end token, as many as the prompt needs.
import { ClipTokenizer } from "../tokenizer/clip-tokenizer.js";
import {
  hasPromptMarks,
  type PromptSyntax,
  parsePromptWeights,
  type WeightedPart,
} from "./prompt-weights.js";

/** One context: token ids and the weight of each, both as long as the encoder's context. */
export interface PromptChunk {
  ids: readonly number[];
  weights: readonly number[];
}

/** Tokens behind the last comma that move into the next context with it, at most. */
const BACKTRACK = 20;

/** Splits prompts into the contexts of one tokenizer. */
export class PromptChunker {
  readonly #tokenizer: ClipTokenizer;
  /** The same vocabulary without a limit. */
  #unlimited?: ClipTokenizer;
  readonly #start: number;
  readonly #end: number;
  readonly #pad: number;

  constructor(tokenizer: ClipTokenizer) {
    this.#tokenizer = tokenizer;
    const empty = tokenizer.encodePadded("");
    [this.#start, this.#end] = empty as [number, number];
    this.#pad = empty.at(-1) as number;
  }

  /** At least one chunk. plain: one, with the prompt cut to it and all weights 1. */
  chunks(prompt: string, syntax: PromptSyntax): PromptChunk[] {
    if (syntax === "plain" || (syntax === "auto" && !hasPromptMarks(prompt))) {
      const ids = this.#tokenizer.encodePadded(prompt);
      return [{ ids, weights: ids.map(() => 1) }];
    }
    const parts = parsePromptWeights(prompt);
    // What BREAK ends is a context even without words; the end of the prompt opens none.
    const chunks = parts.flatMap((part, i) => {
      const found = this.#ofPart(part);
      return found.length > 0 || i === parts.length - 1 ? found : [this.empty()];
    });
    return chunks.length > 0 ? chunks : [this.empty()];
  }

  /** All ids of a text, without start and end. */
  #idsOf(text: string): number[] {
    this.#unlimited ??= new ClipTokenizer({ ...this.#tokenizer.options, modelMaxLength: 2 ** 30 });
    return this.#unlimited.encode(text).slice(1, -1);
  }

  /** The context without words. */
  empty(): PromptChunk {
    return this.#chunk([]);
  }

  /**
   * A part's tokens in contexts; none for no words. Where a context's last comma is at most 20 tokens before its end, the tokens after the
   * comma go into the next one, so that a phrase stays whole. Source: A1111's web UI, `tokenize_line`.
   */
  #ofPart(part: WeightedPart): PromptChunk[] {
    const room = this.#tokenizer.modelMaxLength - 2;
    const chunks: PromptChunk[] = [];
    let tokens: Token[] = [];
    const [commaId = this.#end] = this.#idsOf(",");
    let comma = -1;
    const next = (rest: Token[]): void => {
      chunks.push(this.#chunk(tokens));
      tokens = rest;
      comma = -1;
    };
    for (const { text, weight } of part) {
      for (const id of this.#idsOf(text)) {
        if (id === commaId && id !== this.#end) comma = tokens.length;
        else if (tokens.length === room && comma >= 0 && room - comma <= BACKTRACK) {
          const phrase = tokens.slice(comma + 1);
          tokens = tokens.slice(0, comma + 1);
          next(phrase);
        }
        if (tokens.length === room) next([]);
        tokens.push({ id, weight });
      }
    }
    if (tokens.length > 0) next([]);
    return chunks;
  }

  #chunk(tokens: readonly Token[]): PromptChunk {
    const length = this.#tokenizer.modelMaxLength;
    const padding = length - 2 - tokens.length;
    const fill = <T>(value: T): T[] => Array.from({ length: padding }, () => value);
    return {
      ids: [this.#start, ...tokens.map(({ id }) => id), this.#end, ...fill(this.#pad)],
      weights: [1, ...tokens.map(({ weight }) => weight), 1, ...fill(1)],
    };
  }
}

interface Token {
  id: number;
  weight: number;
}

/** The contexts of prompts, first by context and then by prompt. Prompts that need fewer than others get contexts without words. */
export function promptContexts(
  chunker: PromptChunker,
  prompts: readonly string[],
  syntax: PromptSyntax,
): PromptChunk[][] {
  const rows = prompts.map((prompt) => chunker.chunks(prompt, syntax));
  const most = Math.max(...rows.map(({ length }) => length));
  return Array.from({ length: most }, (_, i) => rows.map((row) => row[i] ?? chunker.empty()));
}
