import { UserError } from "@spo/torch/files";
import type { z } from "zod";
import { meant } from "./meant.js";
import { type Setting, settingsOf } from "./settings.js";
import { isSpelled, kebabCase } from "./spelling.js";

/** Settings as they stand on a command line, and the words between them. */
export interface Overrides {
  settings: Record<string, unknown>;
  /** Paths of the settings, as the schema spells them. */
  paths: string[];
  words: string[];
}

/**
 * Reads `optimizer.lr=3e-5`, `--optimizer.lr 3e-5`, `--optimizer.lr=3e-5`, `--flag` and `--no-flag`; the schema says what is a number.
 *
 * A list is JSON or has commas between its items. `--save-every` may be written as `--saveEvery` or `--save_every`.
 * options: names of the command's own, for suggestions. Throws a UserError (`CONFIG`) that lists all faults.
 */
export function parseOverrides(
  schema: z.ZodType,
  args: readonly string[],
  options: readonly string[] = [],
): Overrides {
  const known = settingsOf(schema);
  const found: Overrides = { settings: {}, paths: [], words: [] };
  const faults: string[] = [];
  // A name of now comes before what another setting was called once.
  const find = (key: string): Setting | undefined =>
    known.find(({ path }) => kebabCase(path) === kebabCase(key)) ??
    known.find(({ path }) => isSpelled(key, path));
  const set = ({ path }: Setting, value: unknown): void => {
    found.paths.push(path);
    setAt(found.settings, path, value);
  };

  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    const isFlag = /^--[^-]/.test(arg);
    const equals = arg.indexOf("=");
    if (!isFlag && (equals < 1 || !/^[\w.-]+$/.test(arg.slice(0, equals)))) {
      found.words.push(arg);
      continue;
    }
    const written = arg.slice(0, equals < 0 ? undefined : equals);
    const key = isFlag ? written.slice(2) : written;
    const setting = find(key);
    const positive = /^no-(.*)$/.exec(kebabCase(key))?.[1];
    const negated = !setting && equals < 0 && positive !== undefined ? find(positive) : undefined;
    if (negated?.kind === "boolean") {
      set(negated, false);
      continue;
    }
    if (!setting) {
      const name = meant(key, [...known.map(({ path }) => kebabCase(path)), ...options]);
      const dashes = isFlag || (name !== undefined && options.includes(name)) ? "--" : "";
      faults.push(`${written} is no setting${name ? `; did you mean ${dashes}${name}?` : ""}`);
      if (isFlag && equals < 0 && i + 1 < args.length && !args[i + 1]?.startsWith("--")) i++; // its value
      continue;
    }
    let text = equals < 0 ? undefined : arg.slice(equals + 1);
    if (text === undefined) {
      const next = args[i + 1];
      if (setting.kind === "boolean" && !isYesNo(next)) text = "true";
      else if (next === undefined || /^--[^-]/.test(next)) {
        faults.push(`${written} needs a value (${setting.type})`);
        continue;
      } else {
        text = next;
        i++;
      }
    }
    set(setting, meaningOf(text, setting));
  }
  if (faults.length > 0) {
    throw new UserError(faults.join("\n"), { code: "CONFIG", hint: "--help lists all settings." });
  }
  return found;
}

/** The value of a command-line word for a setting. A word that does not fit stays text, which the schema then refuses with a message. */
function meaningOf(text: string, { kind }: Setting): unknown {
  switch (kind) {
    case "string":
      return text;
    case "boolean":
      return isYesNo(text) ? /^(true|yes|1)$/.test(text) : text;
    case "number":
      return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text);
    case "list":
      return text.trimStart().startsWith("[")
        ? jsonOr(text, text)
        : text === ""
          ? []
          : text.split(",").map((item) => jsonOr(item, item));
    case "other":
      return jsonOr(text, text);
  }
}

const isYesNo = (text: string | undefined): boolean =>
  text !== undefined && /^(true|false|yes|no|1|0)$/.test(text);

function jsonOr(text: string, otherwise: unknown): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return otherwise; // plain text needs no quotes
  }
}

/** The paths here come from a schema, so none leads to a prototype. */
function setAt(target: Record<string, unknown>, path: string, value: unknown): void {
  const keys = path.split(".");
  const last = keys.pop() as string;
  let at = target;
  for (const key of keys) {
    at[key] ??= {};
    at = at[key] as Record<string, unknown>;
  }
  at[last] = value;
}
