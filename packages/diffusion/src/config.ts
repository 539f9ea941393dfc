// config.json of a model: read, checked, and every value that no class here implements refused by name.
import { readFileSync } from "node:fs";
import { UserError } from "@spo/torch";
import { z } from "zod";

/**
 * Checks a parsed config.json against a schema. Fields that the schema does not know are ignored when they hold one of the values that
 * mean "not used" (null, false, "default", 0, 1); the schema lists those that matter.
 *
 * Throws a UserError (`CONFIG`) with every fault.
 */
export function checkConfig<S extends z.ZodType>(schema: S, value: unknown, source: string): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const faults = result.error.issues.map(
    (issue) => `  ${issue.path.join(".") || "(whole file)"}  ${issue.message}`,
  );
  throw new UserError(`${source} asks for what is not supported here:\n${faults.join("\n")}`, {
    code: "CONFIG",
  });
}

/** Parses a JSON file. Throws a UserError (`DATA`) when it is absent or no JSON. */
export function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw new UserError(
      absent ? `${path} does not exist.` : `${path} cannot be read: ${(error as Error).message}`,
      {
        code: "DATA",
        hint: absent
          ? "A part of the folder is missing: copy or download the whole folder again."
          : undefined,
        cause: error,
      },
    );
  }
  try {
    return parseJson(text);
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${(error as Error).message}`, { code: "DATA", cause: error });
  }
}

/** JSON, also as Python writes it: with `Infinity`, `-Infinity` and `NaN` (which comes as null). Throws a SyntaxError. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON proper; if these words do not explain it, the second attempt throws the error that a reader wants to see.
    return JSON.parse(
      text.replace(/"(?:[^"\\]|\\.)*"|\b(?:Infinity|NaN)\b/g, (token) =>
        token === "Infinity" ? "1e999" : token === "NaN" ? "null" : token,
      ),
    );
  }
}

/** A field that only one value is supported for; absent means that value. */
export const only = <T extends string | number | boolean | null>(value: T) =>
  z
    .unknown()
    .refine((given) => given === undefined || given === null || given === value, {
      error: (issue) =>
        `only ${JSON.stringify(value)} is supported, the file has ${JSON.stringify(issue.input)}`,
    })
    .optional();
