// Reads cells of a preference set, which may be text, numbers, truth values or empty.
import { wordsOf } from "./columns.js";

/** Nothing at all: null, no cell, empty or blank text. */
export const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (typeof value === "string" && /^\s*$/.test(value)) ||
  (typeof value === "number" && Number.isNaN(value));

/** A cell as a number: also text with a decimal comma or a per cent sign, and truth values. NaN for anything else. */
export function numberIn(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint" || typeof value === "boolean") return Number(value);
  if (typeof value !== "string") return Number.NaN;
  const text = value.trim().toLowerCase();
  if (text === "true" || text === "yes") return 1;
  if (text === "false" || text === "no") return 0;
  const found = /^([-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[-+]?\d+)?)\s*(%?)$/.exec(text);
  if (!found) return Number.NaN;
  return Number((found[1] as string).replace(",", ".")) / (found[2] ? 100 : 1);
}

/** A cell as yes or no: numbers, truth values and their words; nothing is no. Undefined for anything else. */
export function flagIn(value: unknown): boolean | undefined {
  if (isEmpty(value)) return false;
  if (typeof value === "boolean") return value;
  const text = typeof value === "string" ? value.trim().toLowerCase() : "";
  if (/^(f|n|off|none|null|nan|na|n\/a)$/.test(text)) return false;
  if (/^(t|y|on)$/.test(text)) return true;
  const number = numberIn(value);
  return Number.isNaN(number) ? undefined : number !== 0;
}

/** Joins entries of a list in one cell of text. */
const LIST_MARK = "|";

/** A cell as a list: a list, its JSON or Python text (`[8, 1]`, `['a', 'b']`), or text with `|` between the entries. */
export function listIn(value: unknown): unknown[] | undefined {
  if (Array.isArray(value)) return value;
  if (ArrayBuffer.isView(value)) return undefined;
  if (typeof value !== "string") return undefined;
  const text = value.trim();
  if (/^[[(].*[\])]$/s.test(text)) {
    try {
      const parsed: unknown = JSON.parse(text);
      if (Array.isArray(parsed)) return parsed;
    } catch {
      // Python's text of a list, or numpy's without commas.
    }
    const inner = text.slice(1, -1).trim();
    if (inner === "") return [];
    const quoted = inner.match(/'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/g);
    if (quoted) return quoted.map((entry) => entry.slice(1, -1).replace(/\\(.)/g, "$1"));
    return inner.split(/\s*,\s*|\s+/);
  }
  return text === "" ? undefined : text.split(LIST_MARK);
}

/** A cell as text: text, or the first of a list of texts. Empty where there is none. */
export function textIn(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return textIn(value.find((entry) => !isEmpty(entry)));
  return "";
}

/** How the numbers of a `winner` column are meant. `share`: of the first image. */
export type Numbering = "from 0" | "from 1" | "signed" | "share";

/**
 * How a column's numbers are meant, from all that stand in it: −1 is the second image and 1 the first; else they count the images, from 1
 * where there is a 2, from 0 where the images are called so. Undefined where it cannot be told.
 */
export function numberingOf(
  values: ReadonlySet<number>,
  name: string,
  markers: readonly [string, string],
): Numbering | undefined {
  if (values.size === 0) return "from 0"; // no number: never asked for
  const all = [...values];
  const only = (...allowed: number[]): boolean => all.every((value) => allowed.includes(value));
  if (values.has(-1)) return only(-1, 0, 1) ? "signed" : undefined;
  if (values.has(2)) return only(0, 1, 2) ? "from 1" : undefined;
  const isShare = /^(pref|preference|preferred|label)$/.test(wordsOf(name).join(""));
  if (isShare) {
    if (all.some((value) => value > 0 && value < 1) && all.every((value) => value >= 0 && value <= 1))
      return "share";
    return name !== "label" && only(1) ? "signed" : undefined; // 0 may be the second image, the first or a tie
  }
  if (only(1) && markers[0] === "1") return "from 1";
  return only(0, 0.5, 1) && values.has(0) && markers[0] !== "1"
    ? "from 0"
    : only(1) && markers[0] === "0"
      ? "from 0"
      : undefined;
}

const FIRST = new Set(["a", "left", "first", "one", "l"]);
const SECOND = new Set(["b", "right", "second", "two", "r"]);
const TIE = new Set(
  "tie tied ties draw equal equally same similar even both neither bothgood bothbad indifferent".split(" "),
);
const NOTHING = new Set(
  "none skip skipped null nan na unsure unknown invalid undecided unclear noopinion discard discarded flagged".split(
    " ",
  ),
);
const FILLERS = new Set(
  "image images img picture pic photo option response model output side the is was better best preferred preference vote votes wins win won winner choice good bad strongly slightly much no number".split(
    " ",
  ),
);

/** What calls the two images in a `winner` cell. */
export interface SideNames {
  markers: readonly [string, string];
  /** Their models', files' and identifiers' names. */
  names: readonly (readonly [string, string])[];
  numbering: Numbering | undefined;
}

/** What a `winner` cell says: the share of the first image, undefined for no opinion, or why it cannot be told. */
export function winnerIn(value: unknown, sides: SideNames): number | undefined | { fault: string } {
  if (isEmpty(value)) return undefined;
  const shown = JSON.stringify(typeof value === "string" ? value.slice(0, 60) : value);
  const number = typeof value === "boolean" ? Number.NaN : numberIn(value);
  const isTruth = typeof value === "string" && /^\s*(true|false|yes|no)\s*$/i.test(value);
  if (!Number.isNaN(number) && !isTruth) return byNumber(number, sides, shown);
  if (typeof value !== "string") return { fault: `${shown} names neither image` };
  const text = value.trim().toLowerCase();
  const named = new Set(
    sides.names.flatMap(([first, second]) =>
      first.toLowerCase() === second.toLowerCase()
        ? []
        : text === first.toLowerCase()
          ? [1]
          : text === second.toLowerCase()
            ? [0]
            : [],
    ),
  );
  if (named.size === 1) return [...named][0];
  const compared = /^(\w+)\s*([<>=≻≺]+)\s*(\w+)$/.exec(text);
  if (compared) {
    const [, left, sign = ""] = compared;
    if (/^=+$/.test(sign)) return 0.5;
    const side = sideOf([left as string], sides);
    if (side !== undefined) return /[>≻]/.test(sign) ? side : 1 - side;
  }
  const words = wordsOf(value).flatMap((word) => {
    const glued = /^(left|right|tie|both|first|second|a|b)(vote|votes|bad|good|image|better|wins)$/.exec(
      word,
    );
    return glued ? [glued[1] as string] : [word];
  });
  if (words.some((word) => TIE.has(word))) return 0.5;
  if (words.some((word) => NOTHING.has(word)) || NOTHING.has(words.join(""))) return undefined;
  const side = sideOf(words, sides);
  return side ?? { fault: `${shown} names neither image` };
}

function byNumber(
  number: number,
  { numbering }: SideNames,
  shown: string,
): number | undefined | { fault: string } {
  switch (numbering) {
    case "signed":
      return (number + 1) / 2;
    case "share":
      return number;
    case "from 0":
      return number >= 0 && number <= 1 ? 1 - number : { fault: `${shown} names neither image` };
    case "from 1":
      return number === 0
        ? 0.5
        : number === 1 || number === 2
          ? 2 - number
          : { fault: `${shown} names neither image` };
    case undefined:
      return {
        fault: `${shown} may mean either image: say it as winner (the better image by its column's name) or as label_0 (the share of the first)`,
      };
  }
}

/** 1 for the first image, 0 for the second, by the one word of these that is a side's. */
function sideOf(words: readonly string[], { markers }: SideNames): 0 | 1 | undefined {
  const telling = words.filter((word) => !FILLERS.has(word) || markers.includes(word));
  if (telling.length !== 1) return undefined;
  const [word] = telling as [string];
  if (word === markers[0]) return 1;
  if (word === markers[1]) return 0;
  if (FIRST.has(word)) return 1;
  return SECOND.has(word) ? 0 : undefined;
}
