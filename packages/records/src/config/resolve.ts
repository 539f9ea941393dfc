import { existsSync } from "node:fs";
import { extname } from "node:path";
import { UserError } from "@spo/torch/files";
import { readJson } from "@spo/torch/text-files";
import type { z } from "zod";
import { meant } from "./meant.js";
import { nearest } from "./nearest.js";
import { parseOverrides } from "./overrides.js";
import { importOwn, isModulePath } from "./own-module.js";
import { type ScaledSettings, scaledSettings } from "./scale.js";
import { keysAt, settingsOf } from "./settings.js";
import { kebabCase } from "./spelling.js";

/** Where values come from, the later ones stronger: defaults, presets, words of the command line. */
export interface ConfigSources {
  /** What stands below presets, files and settings, and above the schema's own defaults. */
  defaults?: object;
  /** Named presets; a word of `args` picks one. */
  presets?: Readonly<Record<string, object>>;
  /** Words of the command line: presets and config files, in order, and settings, which win over both. */
  args?: readonly string[];
  /** Names of the command's own options, without dashes: for "did you mean". */
  options?: readonly string[];
  /** Settings of presets and defaults that become shorter with another one. */
  scaled?: ScaledSettings;
}

/**
 * The config that presets, files and settings of a command line add up to; later ones win, the schema's defaults come first.
 *
 * Objects are merged, anything else is replaced. Throws a UserError (`CONFIG`) that lists all faults.
 */
export async function resolveConfig<S extends z.ZodType>(
  schema: S,
  { defaults = {}, presets = {}, args = [], options, scaled }: ConfigSources,
): Promise<z.output<S>> {
  const { settings, paths, words } = parseOverrides(schema, args, options);
  const layers: unknown[] = [];
  const [named, own]: [unknown[], unknown[]] = [[], []];
  for (const word of words) {
    const isPreset = Object.hasOwn(presets, word);
    const layer = isPreset ? presets[word] : await readConfigFile(word, Object.keys(presets));
    layers.push(layer);
    (isPreset ? named : own).push(layer);
  }
  const shorter = scaled ? scaledBy(scaled, schema, named, [...own, settings]) : {};
  const below = [defaults, ...layers, shorter].reduce(merged, {});
  // An error in a file is named as in the file, any other as on the command line.
  const nameOf = (path: string): string =>
    paths.some((given) => `${path}.`.startsWith(`${given}.`)) || valueAt(below, path.split(".")) === undefined
      ? `--${kebabCase(path)}`
      : path;
  return checkConfig(schema, merged(below, settings), { nameOf });
}

/** What presets and the schema's defaults have to become with the length that a user gives. */
function scaledBy(
  scaled: ScaledSettings,
  schema: z.ZodType,
  named: readonly unknown[],
  own: readonly unknown[],
): Record<string, number> {
  const fallbacks = Object.fromEntries(settingsOf(schema).map(({ path, default: value }) => [path, value]));
  const [base, given] = [[fallbacks, ...named], own].map((layers) => layers.reduce(merged, {}));
  return isRecord(base) && isRecord(given) ? scaledSettings(given, base, scaled) : {};
}

/** Faults of a config that are listed. */
const MOST_FAULTS = 50;

/**
 * A config checked and completed by its schema. Throws a UserError (`CONFIG`) that lists all faults.
 *
 * nameOf: what the setting at a path is called there.
 */
export function checkConfig<S extends z.ZodType>(
  schema: S,
  config: unknown,
  { nameOf = (path) => path }: { nameOf?: (path: string) => string } = {},
): z.output<S> {
  const { data, error } = schema.safeParse(config);
  if (!error) return data as z.output<S>;
  const faults = error.issues.flatMap((issue) => faultsOf(schema, issue, { config, nameOf }));
  const shown = faults.slice(0, MOST_FAULTS);
  const width = Math.max(...shown.map(([path]) => path.length));
  const lines = shown.map(([path, text]) => `  ${path.padEnd(width)}  ${text}`);
  if (faults.length > shown.length) lines.push(`  … and ${faults.length - shown.length} more`);
  throw new UserError(
    `${faults.length === 1 ? "A setting does" : `${faults.length} settings do`} not fit.\n${lines.join("\n")}`,
    {
      code: "CONFIG",
      hint: "--help lists all settings.",
    },
  );
}

/** The object in a `.json` file or exported by default from a module. */
export async function readConfigFile(path: string, presets: readonly string[] = []): Promise<unknown> {
  const fault = (text: string, hint?: string, cause?: unknown): UserError =>
    new UserError(text, { code: "CONFIG", hint, cause });
  const kind = extname(path);
  if (!existsSync(path)) {
    const meant = nearest(path, presets);
    const others = presets.length > 0 ? `Presets: ${presets.join(", ")}.` : undefined;
    throw fault(`${path} is neither a file nor a preset${meant ? `; did you mean ${meant}?` : "."}`, others);
  }
  let config: unknown;
  try {
    if (kind === ".json") config = readJson(path, { code: "CONFIG" });
    else if (isModulePath(path)) config = await importOwn(path);
    else throw fault(`${path}: a config is a .json, .js, .mjs or .ts file.`);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw fault(`${path} cannot be read: ${(error as Error).message}`, undefined, error);
  }
  if (!isRecord(config))
    throw fault(
      `${path} holds no object of settings.`,
      kind === ".json" ? undefined : "Export it by default.",
    );
  return config;
}

/** b over a: objects key by key, anything else replaced. */
function merged(a: unknown, b: unknown): unknown {
  if (!isRecord(a) || !isRecord(b)) return b;
  // fromEntries defines keys, it does not assign: `__proto__` is then a key like others, which the schema refuses.
  return Object.fromEntries([
    ...Object.entries(a).filter(([key]) => !Object.hasOwn(b, key)),
    ...Object.entries(b).map(([key, value]) => [key, Object.hasOwn(a, key) ? merged(a[key], value) : value]),
  ]);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Path and text of each fault of an issue: an unknown key is one of its own. */
function faultsOf(
  schema: z.ZodType,
  issue: z.core.$ZodIssue,
  { config, nameOf }: { config: unknown; nameOf: (path: string) => string },
): [string, string][] {
  const path = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const full = path ? `${path}.${key}` : key;
      const near = nearest(key, keysAt(schema, issue.path) ?? []);
      const name = near
        ? [...issue.path, near].join(".")
        : meant(
            key,
            settingsOf(schema).map((setting) => setting.path),
          );
      return [full, `is no setting${name ? `; did you mean ${name}?` : ""}`];
    });
  }
  const value = valueAt(config, issue.path);
  if (value === undefined) {
    const about = settingsOf(schema).find((setting) => setting.path === path);
    return [[nameOf(path), `is missing${about?.description ? `: ${about.description}` : ""}`]];
  }
  const text = issue.message.replace(
    /^(Invalid input|Too small|Too big|Invalid option|Invalid string): /,
    "",
  );
  return [[path ? nameOf(path) : "config", `${text.replace(/, received .*$/, "")}, found ${shown(value)}`]];
}

const valueAt = (config: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | null | undefined)?.[key], config);

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
