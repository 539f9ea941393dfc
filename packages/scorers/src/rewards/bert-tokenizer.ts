import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";

/** Words of more characters are unknown as a whole. */
const LONGEST_WORD = 100;

/**
 * BERT's WordPiece, uncased. Source: Devlin et al. 2018; ids equal those of the `tokenizers` library's BertTokenizer.
 *
 * Control characters and accents are removed, Chinese characters stand alone, letters become lower case one by one; words are split at
 * punctuation and spelt by the longest pieces of the vocabulary. Special tokens that stand in the text are themselves.
 */
export class BertTokenizer {
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #special: ReadonlyMap<string, number>;
  readonly #written: RegExp;

  /**
   * pieces: by id. added: further special tokens, behind the vocabulary. Throws a UserError (`DATA`) where one of BERT's own is missing.
   */
  constructor(pieces: readonly string[], added: readonly string[] = []) {
    this.#vocabulary = new Map(pieces.map((piece, id) => [piece, id]));
    const own = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    const missing = own.filter((token) => !this.#vocabulary.has(token));
    if (missing.length > 0)
      throw new UserError(`The vocabulary has no ${missing.join(", ")}.`, {
        code: "DATA",
        hint: "It is not BERT's.",
      });
    this.#special = new Map([
      ...own.map((token) => [token, this.#vocabulary.get(token) as number] as const),
      ...added.map((token, i) => [token, this.#vocabulary.get(token) ?? pieces.length + i] as const),
    ]);
    this.#written = new RegExp(
      `(${[...this.#special.keys()].map((token) => token.replace(/[[\]]/g, "\\$&")).join("|")})`,
    );
  }

  /** `[CLS]` text `[SEP]`, cut to `length` places (the two stay) and filled up with `[PAD]`; `seen`: which places are not padding. */
  encode(text: string, length: number): { ids: number[]; seen: boolean[] } {
    const special = (token: string): number => this.#special.get(token) as number;
    const words = text
      .split(this.#written)
      .flatMap((part, i) =>
        i % 2 === 1 ? [special(part)] : wordsOf(part).flatMap((word) => this.#spell(word)),
      );
    const ids = [special("[CLS]"), ...words.slice(0, length - 2), special("[SEP]")];
    const used = ids.length;
    while (ids.length < length) ids.push(special("[PAD]"));
    return { ids, seen: ids.map((_, i) => i < used) };
  }

  /** A word by its longest pieces from the left; `[UNK]` where they do not cover it. */
  #spell(word: string): number[] {
    const letters = [...word];
    const unknown = [this.#vocabulary.get("[UNK]") as number];
    if (letters.length > LONGEST_WORD) return unknown;
    const ids: number[] = [];
    for (let start = 0; start < letters.length; ) {
      let end = letters.length;
      let id: number | undefined;
      for (; end > start; end--) {
        id = this.#vocabulary.get((start > 0 ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return unknown;
      ids.push(id);
      start = end;
    }
    return ids;
  }
}

/** vocab.txt, one piece a line: a folder that has it, or the file. */
export function loadBertTokenizer(path: string, added: readonly string[] = []): BertTokenizer {
  const file = existsSync(path) && statSync(path).isDirectory() ? join(path, "vocab.txt") : path;
  if (!existsSync(file)) {
    throw new UserError(`${file} does not exist.`, {
      code: "DATA",
      hint: "It is the vocabulary of bert-base-uncased, one piece a line.",
    });
  }
  const lines = readFileSync(file, "utf8").split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  return new BertTokenizer(lines, added);
}

/** Whole words and single punctuation marks, cleaned and in lower case. */
function wordsOf(text: string): string[] {
  let clean = "";
  for (const letter of text) {
    if (letter === "\0" || letter === "\ufffd" || isControl(letter)) continue;
    if (isSpace(letter)) clean += " ";
    else clean += isChinese(letter.codePointAt(0) as number) ? ` ${letter} ` : letter;
  }
  let lower = "";
  // Letter by letter: JavaScript's own way with whole words makes a final Σ to ς.
  for (const letter of clean.normalize("NFD").replace(/\p{Mn}/gu, "")) lower += letter.toLowerCase();
  return lower.split(/\s+/u).flatMap((word) => word.split(PUNCTUATION).filter((part) => part !== ""));
}

// All of ASCII that is no letter, digit or space, also where Unicode has it as a symbol.
const PUNCTUATION = /([!-/:-@[-`{-~]|\p{P})/u;

const isSpace = (letter: string): boolean => /[\t\n\r]|\p{White_Space}/u.test(letter);
/** Control, format, private and unassigned characters, but not white space. */
const isControl = (letter: string): boolean => !/[\t\n\r]/.test(letter) && /\p{C}/u.test(letter);

/** The blocks of CJK ideographs, not of kana or hangul. */
const CHINESE: readonly [number, number][] = [
  [0x4e00, 0x9fff],
  [0x3400, 0x4dbf],
  [0x20000, 0x2a6df],
  [0x2a700, 0x2b73f],
  [0x2b740, 0x2b81f],
  [0x2b820, 0x2ceaf],
  [0xf900, 0xfaff],
  [0x2f800, 0x2fa1f],
];
const isChinese = (code: number): boolean => CHINESE.some(([first, last]) => code >= first && code <= last);
