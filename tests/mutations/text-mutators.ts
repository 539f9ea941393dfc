// Changes of lines, cells, words and numbers of a text, and of its encoding.
import { mutateBytes } from "./byte-mutators.js";
import type { Draws } from "./draws.js";
import { mutateJson } from "./json-mutators.js";

type Mutate = (text: string, draws: Draws, words: readonly string[]) => string;

const NUMBERS = [
  "-1",
  "0",
  "0.5",
  "0,5",
  "2147483648",
  "9007199254740993",
  "1e308",
  "1e999",
  "NaN",
  "inf",
  "0x10",
  "１",
  "--1",
  "",
];
const LETTERS = [
  "\0",
  "\r",
  "\n",
  "\t",
  '"',
  "'",
  "\\",
  ",",
  ";",
  "|",
  "{",
  "}",
  "(",
  ":",
  "<",
  "\u001b[2J",
  "\u001b]0;x\u0007",
  "\ufeff",
  "\u2028",
  "\u202e",
  "é",
  "😀",
  "\ud800",
  " ",
];

/** Changes one of the places that a pattern finds. */
const atOne = (text: string, draws: Draws, pattern: RegExp, to: (found: string) => string): string => {
  const places = [...text.matchAll(pattern)];
  if (places.length === 0) return text;
  const { 0: found, index } = draws.pick(places);
  return text.slice(0, index) + to(found) + text.slice(index + found.length);
};

const onLines =
  (change: (lines: string[], draws: Draws) => void): Mutate =>
  (text, draws) => {
    const lines = text.split("\n");
    change(lines, draws);
    return lines.join("\n");
  };

const MUTATORS: readonly Mutate[] = [
  (text, draws) => atOne(text, draws, /-?\d+(\.\d+)?/g, () => draws.pick(NUMBERS)),
  (text, draws, words) => atOne(text, draws, /\w+/g, () => (words.length > 0 ? draws.pick(words) : "")),
  (text, draws, words) => atOne(text, draws, /[,:;{}[\]"|\t]/g, () => draws.pick([...LETTERS, ...words])),
  (text, draws) => {
    const at = draws.below(text.length + 1);
    return text.slice(0, at) + draws.pick(LETTERS) + text.slice(at);
  },
  (text, draws) => {
    const at = draws.below(text.length + 1);
    return text.slice(0, at) + text.slice(at + draws.few(20));
  },
  onLines((lines, draws) => void lines.splice(draws.below(lines.length), draws.few(3))),
  onLines((lines, draws) => void lines.splice(draws.below(lines.length), 0, draws.pick(lines))),
  onLines(
    (lines, draws) =>
      void lines.splice(
        draws.below(lines.length),
        0,
        draws.pick(["", " ", "#", "{}", "[]", "null", "x".repeat(50_000), "(".repeat(2000)]),
      ),
  ),
  onLines((lines, draws) => {
    const [a, b] = [draws.below(lines.length), draws.below(lines.length)];
    [lines[a], lines[b]] = [lines[b] as string, lines[a] as string];
  }),
  (text, draws) => text.replaceAll("\n", draws.pick(["\r\n", "\r", "\u2028", " "])),
  (text, draws) => text.slice(0, draws.below(text.length + 1)),
  (text, draws) => text + draws.pick(["\n\n\n", "\0", text, "}", "]", '"', "\u001a"]),
];

/** One to four changes of a text, or of its bytes. words: of the format. */
export function mutateText(text: string, draws: Draws, words: readonly string[] = []): Buffer {
  if (draws.chance(0.1)) return mutateBytes(Buffer.from(text), draws, words);
  let changed = text;
  for (let i = draws.few(4); i > 0; i--) changed = draws.pick(MUTATORS)(changed, draws, words);
  if (draws.chance(0.03)) return Buffer.from(`\ufeff${changed}`, draws.chance(0.5) ? "utf16le" : "utf8");
  return Buffer.from(changed, draws.chance(0.03) ? "latin1" : "utf8");
}

/** As `mutateText`, but mostly one line's JSON stays JSON. */
export function mutateJsonLines(text: string, draws: Draws, words: readonly string[] = []): Buffer {
  if (draws.chance(0.35)) return mutateText(text, draws, words);
  const lines = text.split("\n");
  for (let i = draws.few(3); i > 0; i--) {
    const at = draws.below(lines.length);
    try {
      lines[at] = mutateJson(JSON.parse(lines[at] as string), draws, words);
    } catch {
      // an empty line, or one that is no JSON any more
    }
  }
  return Buffer.from(lines.join("\n"));
}
