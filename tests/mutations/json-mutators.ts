// Changes of JSON that stays JSON: other values, kinds and names, deep nesting, huge texts, entries that are gone or there twice.
import type { Draws } from "./draws.js";

type Key = string | number;
type Parent = Record<Key, unknown>;

/** What stands for a text that JSON.stringify would not write: replaced in the result. */
const RAW = (i: number): string => `\u0001raw ${i}\u0001`;

const NUMBERS = [
  ...[-1, 0, 0.5, 1, 2, 3, 7, 16, 77, 255, 256, 1000, 65536, 100_000, 1e6, 2 ** 31 - 1, 2 ** 31, 2 ** 32],
  ...[2 ** 53 - 1, 2 ** 53, 1e9, 1e12, 1e18, 1e308, -1e308, -0.5, -(2 ** 31), 1e-300, 1e-8],
];
const RAW_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-0", "1E400", `1${"0".repeat(400)}`];
const PLAIN = [
  null,
  [],
  {},
  "",
  true,
  false,
  " ",
  "0",
  "1",
  "null",
  "NaN",
  "../..",
  "/etc/passwd",
  "\u0000",
  "\ud800",
  "\u001b[2J",
];
const NAMES = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "length", "then", ""];

function strange(draws: Draws, raw: string[], words: readonly string[]): unknown {
  const asIs = (text: string): string => RAW(raw.push(text) - 1);
  switch (draws.below(9)) {
    case 0:
    case 1:
    case 2:
      return draws.pick(NUMBERS);
    case 3:
    case 4:
      return draws.pick(PLAIN);
    case 5:
      return words.length > 0 ? draws.pick(words) : draws.pick(NAMES);
    case 6:
      return asIs(draws.pick(RAW_NUMBERS));
    case 7: {
      const depth = draws.pick([3, 100, 1000, 20_000]);
      return asIs(
        draws.chance(0.5)
          ? `${"[".repeat(depth)}${"]".repeat(depth)}`
          : `${'{"a":'.repeat(depth)}0${"}".repeat(depth)}`,
      );
    }
    default:
      return draws.pick([
        () => "x".repeat(draws.pick([1000, 100_000])),
        () =>
          Array.from({ length: draws.pick([1, 2, 3, 1000]) }, () =>
            draws.pick<unknown>([0, 1, "", null, 64, "a"]),
          ),
        () => Object.fromEntries(Array.from({ length: draws.few(1000) }, (_, i) => [`key ${i}`, i])),
      ])();
  }
}

/** A place in the value: an object or list with one of its keys; undefined where it has none. */
function placeIn(root: unknown, draws: Draws): { parent: Parent; key: Key } | undefined {
  let found: { parent: Parent; key: Key } | undefined;
  let at = root;
  for (let depth = 0; typeof at === "object" && at !== null; depth++) {
    const keys = Object.keys(at);
    if (keys.length === 0) break;
    const key = draws.pick(keys);
    found = { parent: at as Parent, key: Array.isArray(at) ? Number(key) : key };
    at = (at as Parent)[key];
    if (depth > 0 && draws.chance(0.25)) break; // not always down to a leaf
  }
  return found;
}

/**
 * One to four changes of a parsed value, as text. It is JSON, but for NaN and infinities as Python writes them. words: values of the
 * format.
 */
export function mutateJson(value: unknown, draws: Draws, words: readonly string[] = []): string {
  const raw: string[] = [];
  let root = structuredClone(value);
  let doubled: string | undefined;
  for (let i = draws.few(4); i > 0; i--) {
    const place = placeIn(root, draws);
    const define = (parent: Parent, key: Key, to: unknown): void =>
      void Object.defineProperty(parent, key, {
        value: to,
        enumerable: true,
        writable: true,
        configurable: true,
      });
    if (!place || draws.chance(0.02)) {
      root = strange(draws, raw, words);
      continue;
    }
    const { parent, key } = place;
    switch (draws.below(10)) {
      case 0: // gone
        if (Array.isArray(parent)) parent.splice(Number(key), 1);
        else delete parent[key];
        break;
      case 1: // renamed
        if (!Array.isArray(parent)) {
          const moved = parent[key];
          delete parent[key];
          define(
            parent,
            draws.chance(0.5) ? draws.pick(NAMES) : `${key}${draws.pick(["_", ".", " ", "s"])}`,
            moved,
          );
        }
        break;
      case 2: // one more
        if (Array.isArray(parent)) parent.push(strange(draws, raw, words));
        else define(parent, draws.pick([...NAMES, ...words]), strange(draws, raw, words));
        break;
      case 3: {
        // exchanged with another
        const other = placeIn(root, draws);
        if (other) {
          const [a, b] = [parent[key], other.parent[other.key]];
          if (!isWithin(a, other.parent) && !isWithin(b, parent)) {
            define(other.parent, other.key, a);
            define(parent, key, b);
          }
        }
        break;
      }
      case 4: // twice
        if (Array.isArray(parent))
          parent.push(...Array.from({ length: draws.few(300) }, () => parent[Number(key)]));
        else doubled = String(key);
        break;
      case 5: // another kind of the same
        define(parent, key, otherKind(parent[key], draws));
        break;
      default:
        define(parent, key, strange(draws, raw, words));
    }
  }
  let text = JSON.stringify(root, null, draws.chance(0.3) ? 2 : undefined) ?? "";
  if (doubled !== undefined) {
    const entry = `${JSON.stringify(doubled)}:`;
    const at = text.indexOf(entry);
    if (at >= 0) text = `${text.slice(0, at)}${entry}${JSON.stringify(draws.pick(PLAIN))},${text.slice(at)}`;
  }
  return text.replace(/"\\u0001raw (\d+)\\u0001"/g, (_, i: string) => raw[Number(i)] as string);
}

function otherKind(value: unknown, draws: Draws): unknown {
  if (typeof value === "number")
    return draws.pick<unknown>([
      String(value),
      -value,
      value + 0.5,
      value * 2,
      value + 1,
      value - 1,
      [value],
      value * 1e6,
    ]);
  if (typeof value === "string")
    return draws.pick<unknown>([
      [value],
      { content: value },
      value.length,
      value.toUpperCase(),
      `${value} `,
      value.slice(1),
    ]);
  if (typeof value === "boolean") return draws.pick<unknown>([!value, Number(value), String(value), null]);
  if (Array.isArray(value))
    return draws.pick<unknown>([
      value[0],
      { ...value },
      value.toReversed(),
      [value],
      value.slice(1),
      [...value, ...value],
    ]);
  return draws.pick<unknown>([[value], null, JSON.stringify(value)]);
}

/** Whether an object is another or lies in it. */
function isWithin(outer: unknown, inner: unknown): boolean {
  if (outer === inner) return true;
  return (
    typeof outer === "object" && outer !== null && Object.values(outer).some((each) => isWithin(each, inner))
  );
}
