// The expressions of peft's rank_pattern and alpha_pattern: Python's, from a file of strangers, matched in linear time.
import { UserError } from "@spo/torch";
import { RE2JS } from "re2js";

/** Longest expression and most of them in one pattern; a name without special letters counts as none. */
const LONGEST = 1000;
const MOST = 256;

/** A value for the layers whose name an expression matches, the first that does. */
export type LayerPattern = Readonly<Record<string, number>>;

/**
 * The value of the first expression that matches the name of a module or the end of it from a dot on; undefined where none does.
 *
 * what: the pattern's name, for messages. Throws a UserError (`DATA`) for text that is no expression, for lookaround and back-references,
 * for more than 1,000 letters, and for more than 256 expressions. Source: peft `get_pattern_key`.
 */
export function patternMatcher(pattern: LayerPattern, what: string): (module: string) => number | undefined {
  const entries = Object.entries(pattern);
  const expressions = entries.filter(([key]) => !isPlain(key)).length;
  if (expressions > MOST)
    throw refused(`${what} has ${expressions} expressions, more than the ${MOST} that are tried`);
  const rules = entries.map(([key, value]) => ({
    value,
    matches: isPlain(key) ? endsIn(key) : expression(key, what),
  }));
  return (module) => rules.find(({ matches }) => matches(module))?.value;
}

/** Only letters, digits, `_` and dots, which stand for any letter. */
const isPlain = (key: string): boolean => /^[\w.]+$/.test(key);

const endsIn =
  (key: string) =>
  (module: string): boolean => {
    const start = module.length - key.length;
    if (start < 0 || (start > 0 && module[start - 1] !== ".")) return false;
    for (let i = 0; i < key.length; i++) if (key[i] !== "." && key[i] !== module[start + i]) return false;
    return true;
  };

function expression(key: string, what: string): (module: string) => boolean {
  const shown = JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}…` : key);
  if (key.length > LONGEST) throw refused(`${what} has an expression of ${key.length} letters: ${shown}`);
  try {
    const compiled = RE2JS.compile(`(.*\\.)?(${key})$`);
    return (module) => compiled.matcher(module).lookingAt();
  } catch (error) {
    const why = (error as Error).message.replace(/^error parsing regexp: /, "");
    throw refused(`${what} has the expression ${shown}, which is not supported: ${why}`, error);
  }
}

const refused = (text: string, cause?: unknown): UserError =>
  new UserError(`${text}.`, {
    code: "DATA",
    hint: "Write the names of the modules in it, or expressions without look-around and back-references.",
    cause,
  });
