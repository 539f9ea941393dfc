import { UserError } from "@spo/torch/files";
import type { z } from "zod";
import { meant } from "./meant.js";
import { type Setting, settingsOf } from "./settings.js";

/** Settings as they stand on a command line, and the words between them. */
export interface Overrides {
  settings: Record<string, unknown>;
  words: string[];
}

/**
 * Reads `optimizer.lr=3e-5`, `--optimizer.lr 3e-5`, `--optimizer.lr=3e-5`, `--flag` and `--no-flag`; the schema says what is a number.
 *
 * A list is JSON or has commas between its items. A key may be written with dashes or underscores (`--save-every`, `--save_every`).
 * options: names of the command's own, for suggestions. Throws a UserError (`CONFIG`) that lists all faults.
 */
export function parseOverrides(
  schema: z.ZodType,
  args: readonly string[],
  options: readonly string[] = [],
): Overrides {
  const known = new Map(settingsOf(schema).map((setting) => [setting.path, setting]));
  const found: Overrides = { settings: {}, words: [] };
  const faults: string[] = [];
  const find = (key: string): Setting | undefined => known.get(key) ?? known.get(camelCase(key));

  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    const isFlag = /^--[^-]/.test(arg);
    const equals = arg.indexOf("=");
    if (!isFlag && (equals < 1 || !/^[\w.-]+$/.test(arg.slice(0, equals)))) {
      found.words.push(arg);
      continue;
    }
    const key = arg.slice(isFlag ? 2 : 0, equals < 0 ? undefined : equals);
    const setting = find(key);
    const negated = !setting && equals < 0 && key.startsWith("no-") ? find(key.slice(3)) : undefined;
    if (negated?.kind === "boolean") {
      setAt(found.settings, negated.path, false);
      continue;
    }
    if (!setting) {
      const name = meant(key, [...known.keys(), ...options]);
      const shown = name !== undefined && options.includes(name) ? `--${name}` : name;
      faults.push(`${key} is no setting${shown ? `; did you mean ${shown}?` : ""}`);
      if (isFlag && equals < 0 && i + 1 < args.length && !args[i + 1]?.startsWith("--")) i++; // its value
      continue;
    }
    let text = equals < 0 ? undefined : arg.slice(equals + 1);
    if (text === undefined) {
      const next = args[i + 1];
      if (setting.kind === "boolean" && !isYesNo(next)) text = "true";
      else if (next === undefined || /^--[^-]/.test(next)) {
        faults.push(`${setting.path} needs a value (${setting.type})`);
        continue;
      } else {
        text = next;
        i++;
      }
    }
    setAt(found.settings, setting.path, meaningOf(text, setting));
  }
  if (faults.length > 0) {
    throw new UserError(faults.join("\n"), { code: "CONFIG", hint: "--help lists all settings." });
  }
  return found;
}

/** What a word on the command line means for a setting. What does not fit stays a text, for the schema to refuse with a message. */
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

const camelCase = (key: string): string =>
  key.replace(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** `lr` for `optimizer.lr`. */
export const lastPartOf = (key: string, paths: readonly string[]): string | undefined =>
  paths.find((path) => path.endsWith(`.${key.slice(key.lastIndexOf(".") + 1)}`));
