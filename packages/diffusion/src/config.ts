// Reads and checks config.json of a model. A value that no class here implements is an error that names it.
import { existsSync } from "node:fs";
import { UserError } from "@spo/torch";
import {
  MAX_CONFIG_BYTES,
  MAX_TABLE_BYTES,
  readJson as readJsonFile,
  requireObject,
} from "@spo/torch/text-files";
import { z } from "zod";

/**
 * Checks a parsed config.json against a schema.
 *
 * Throws a UserError (`CONFIG`) with every fault.
 */
export function checkConfig<S extends z.ZodType>(schema: S, value: unknown, source: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { issues } = result.error;
  const faults = issues
    .slice(0, MOST_FAULTS)
    .map((issue) => `  ${issue.path.join(".") || "(whole file)"}  ${wordsOf(issue.message)}`);
  if (issues.length > MOST_FAULTS) faults.push(`  … and ${issues.length - MOST_FAULTS} more`);
  throw new UserError(`${source} asks for what is not supported here:\n${faults.join("\n")}`, {
    code: "CONFIG",
  });
}

/** Faults of a config that are listed. */
const MOST_FAULTS = 30;

/** A value of a config as a message shows it. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** zod's messages, reworded for someone who reads a config.json and not a schema. */
const wordsOf = (message: string): string =>
  message
    .replace(/^Invalid input: expected (.*), received undefined$/, "is missing, expected $1")
    .replace(/^Invalid input$/, "is nothing that can stand here")
    .replace(/^(Invalid input|Invalid option|Too small|Too big): /, "");

/**
 * Parses a JSON file of a model's folder. large: a table of names, as a vocabulary is, and no config.
 *
 * Throws a UserError (`DATA`) when it is absent, no JSON, or larger or deeper than such files are.
 */
export function readJson(path: string, { large = false } = {}): unknown {
  const maxBytes = large ? MAX_TABLE_BYTES : MAX_CONFIG_BYTES;
  if (existsSync(path)) return readJsonFile(path, { parse: parseJson, maxBytes });
  throw new UserError(`${path} does not exist.`, {
    code: "DATA",
    hint: "A part of the folder is missing: copy or download the whole folder again.",
  });
}

/** As `readJson`, of what must be an object. */
export const readJsonObject = (path: string, options?: { large?: boolean }): Record<string, unknown> =>
  requireObject(readJson(path, options), path);

/** JSON, also as Python writes it: with `Infinity`, `-Infinity` and `NaN` (which comes as null). Throws a SyntaxError. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON proper. If these words do not explain it, the second attempt throws the error that a reader wants to see.
    return JSON.parse(
      text.replace(/"(?:[^"\\]|\\.)*"|\b(?:Infinity|NaN)\b/g, (token) =>
        token === "Infinity" ? "1e999" : token === "NaN" ? "null" : token,
      ),
    );
  }
}

/** Fields about an average of weights that trainers write into the config.json of its model. */
const OF_AVERAGES = new Set([
  ...["decay", "min_decay", "optimization_step", "update_after_step"],
  ...["use_ema_warmup", "inv_gamma", "power"],
]);

/**
 * A fault for each field that the schema does not name and that is in use: neither null nor false. Fields that begin with `_` say where
 * a model comes from.
 */
export function refuseUnknown(
  { value, issues }: z.core.ParsePayload<Record<string, unknown>>,
  known: Readonly<Record<string, unknown>>,
): void {
  for (const [name, given] of Object.entries(value)) {
    if (given === null || given === false || name.startsWith("_")) continue;
    if (Object.hasOwn(known, name) || OF_AVERAGES.has(name)) continue;
    const message = `is not known here, the file has ${shown(given)}`;
    issues.push({ code: "custom", path: [name], message, input: value });
  }
}

/** A whole number of a config, from 1 to a bound that no published model comes near. */
export const count = (most: number) => z.int().min(1).max(most);

/** Upper bounds of a config's values: far beyond what is published, and far below what no memory holds. */
export const MOST = {
  /** Channels, widths, sizes of embeddings. */
  width: 2 ** 16,
  /** Levels, each of half the side. */
  levels: 12,
  /** Layers in a row. */
  layers: 512,
  heads: 1024,
  /** Sides of images and latents. */
  side: 2 ** 14,
  /** Sides of latents that a model can be made for: images of 8192 pixels by the usual factor. */
  latent: 1024,
  /** Residual blocks and transformer blocks of one model, together. */
  blocks: 4096,
} as const;

/** A field that only one value is supported for; absent means that value. */
export const only = <T extends string | number | boolean | null>(value: T) =>
  z
    .unknown()
    .refine((given) => given === undefined || given === null || given === value, {
      error: (issue) => `only ${JSON.stringify(value)} is supported, the file has ${shown(issue.input)}`,
    })
    .optional();

/** The activation of all models here, by both of its names and in any case of letters, as diffusers takes it. */
export const onlySilu = z
  .unknown()
  .refine((given) => given == null || (typeof given === "string" && /^(silu|swish)$/i.test(given)), {
    error: (issue) => `only "silu" is supported, the file has ${shown(issue.input)}`,
  })
  .optional();
