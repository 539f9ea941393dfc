// Reads the settings of a zod schema: for help, for overrides from the command line, for "did you mean".
import type { z } from "zod";
import { type Place, placeRegistry } from "./place.js";

/** One setting of a schema, as help lists it. */
export interface Setting {
  /** Dotted, e.g. `optimizer.lr`. */
  path: string;
  /** In words for help: `int`, `number`, `text`, `yes|no`, `a|b|c`, `list of int`. */
  type: string;
  /** Bounds of a number in words, e.g. `≥ 2`, `0 to 1`. */
  range?: string;
  kind: "number" | "boolean" | "string" | "list" | "other";
  /** The words that it may be, where there are few. */
  choices?: string[];
  description?: string;
  /** What its text, or each of its list, names. */
  place?: Place;
  required: boolean;
  default?: unknown;
}

/** The parts of a schema that are read here. zod's own classes have all of them, by kind. */
export interface Def {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  element?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  entries?: Record<string, string | number>;
  values?: unknown[];
  options?: z.ZodType[];
  defaultValue?: unknown;
  format?: string;
  checks?: { _zod: { def: { format?: string; check?: string; value?: unknown; inclusive?: boolean } } }[];
}

/** The parts of a schema's definition. */
export const defOf = (schema: z.ZodType): Def => schema.def as unknown as Def;

/** All settings of an object schema, in its order. Objects within are walked, anything else is one setting. */
export function settingsOf(schema: z.ZodType, prefix = ""): Setting[] {
  const { inner } = unwrap(schema);
  return Object.entries(shapeOf(inner) ?? {}).flatMap(([key, member]) => {
    const path = prefix ? `${prefix}.${key}` : key;
    const { inner: value, description, place, required, fallback } = unwrap(member);
    if (!shapeOf(value)) return [{ path, ...typeOf(value), description, place, required, default: fallback }];
    const given = (fallback ?? {}) as Record<string, unknown>; // what the object has when nothing is said
    return settingsOf(value, path).map((setting) => {
      const own = given[setting.path.slice(path.length + 1)];
      return own === undefined ? setting : { ...setting, required: false, default: own };
    });
  });
}

/** Keys of the object at a path, or undefined when no object is there. */
export function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] | undefined {
  let { inner } = unwrap(schema);
  for (const key of path) {
    const member = shapeOf(inner)?.[String(key)];
    if (!member) return undefined;
    inner = unwrap(member).inner;
  }
  const shape = shapeOf(inner);
  return shape && Object.keys(shape);
}

/** The members of an object schema; undefined for any other. */
export function shapeOf(schema: z.ZodType): Record<string, z.ZodType> | undefined {
  return defOf(schema).type === "object" ? defOf(schema).shape : undefined;
}

/** A schema without defaults, optionals and transforms, and what they said. */
export interface Unwrapped {
  inner: z.ZodType;
  description?: string;
  /** Of a text, or of the items of a list. */
  place?: Place;
  /** Whose settings an object holds. */
  settingsOf?: z.ZodType;
  required: boolean;
  fallback?: unknown;
}

/** Takes off defaults, optionals and transforms. */
export function unwrap(schema: z.ZodType): Unwrapped {
  let inner = schema;
  let description = inner.description;
  let required = true;
  let fallback: unknown;
  for (;;) {
    const def = defOf(inner);
    if (def.type === "default" || def.type === "prefault") fallback ??= def.defaultValue;
    if (["default", "prefault", "optional"].includes(def.type)) required = false;
    const next = def.innerType ?? (def.type === "pipe" ? def.in : undefined);
    if (!next) {
      const { place = def.element && unwrap(def.element).place, settingsOf } = placeRegistry.get(inner) ?? {};
      return {
        inner,
        description,
        place,
        settingsOf: settingsOf as z.ZodType | undefined,
        required,
        fallback,
      };
    }
    inner = next;
    description ??= inner.description;
  }
}

function typeOf(schema: z.ZodType): Pick<Setting, "type" | "kind" | "range" | "choices"> {
  const def = defOf(schema);
  switch (def.type) {
    case "number": {
      const whole = [def.format, ...(def.checks ?? []).map(({ _zod }) => _zod.def.format)].some((format) =>
        format?.includes("int"),
      );
      return { type: whole ? "int" : "number", kind: "number", range: rangeOf(schema) };
    }
    case "boolean":
      return { type: "yes|no", kind: "boolean", choices: ["yes", "no"] };
    case "string":
      return { type: "text", kind: "string" };
    case "enum": {
      const choices = Object.values(def.entries ?? {}).map(String);
      return { type: choices.join("|"), kind: "string", choices };
    }
    case "literal": {
      const choices = (def.values ?? []).map(String);
      return { type: choices.join("|"), kind: "other", choices };
    }
    case "array":
    case "tuple":
      return {
        type: def.element ? `list of ${typeOf(unwrap(def.element).inner).type}` : "list",
        kind: "list",
      };
    case "union": {
      const options = (def.options ?? []).map((option) => typeOf(unwrap(option).inner));
      const choices = options.every((option) => option.choices)
        ? options.flatMap((option) => option.choices ?? [])
        : undefined;
      return { type: options.map(({ type }) => type).join("|"), kind: "other", choices };
    }
    default:
      return { type: "JSON", kind: "other" };
  }
}

/** Upper bounds from here on are left out of help. */
const FAR = 1e6;

function rangeOf(schema: z.ZodType): string | undefined {
  const checks = (defOf(schema).checks ?? []).map(({ _zod }) => _zod.def);
  const least = checks.find(({ check }) => check === "greater_than");
  // A bound that only catches typing errors is of no interest to a reader.
  const most = checks.find(({ check, value }) => check === "less_than" && Number(value) < FAR);
  if (least?.inclusive && most?.inclusive) return `${least.value} to ${most.value}`;
  return (
    [
      least && `${least.inclusive ? "≥" : ">"} ${least.value}`,
      most && `${most.inclusive ? "≤" : "<"} ${most.value}`,
    ]
      .filter(Boolean)
      .join(", ") || undefined
  );
}
