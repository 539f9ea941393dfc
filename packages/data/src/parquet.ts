import { existsSync } from "node:fs";
import { UserError } from "@spo/torch/files";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";

/**
 * Rows of a parquet file as objects. Binary columns come as bytes.
 *
 * Throws a UserError (`DATA`) when the file is absent or damaged, or lacks one of `columns`; `optional` ones may be missing.
 */
export async function readParquet(
  path: string,
  columns: readonly string[],
  optional: readonly string[] = [],
): Promise<Record<string, unknown>[]> {
  if (!existsSync(path)) throw new UserError(`${path} does not exist.`, { code: "DATA" });
  const file = await asyncBufferFromFile(path);
  try {
    const metadata = await parquetMetadataAsync(file);
    const present = parquetSchema(metadata).children.map((child) => child.element.name);
    const missing = columns.filter((column) => !present.includes(column));
    if (missing.length > 0) {
      throw new UserError(`${path} has no column ${missing.join(", ")}; it has ${present.join(", ")}.`, {
        code: "DATA",
      });
    }
    // Without `utf8: false` a binary column that carries no annotation is decoded as text, which destroys images.
    return await parquetReadObjects({
      file,
      metadata,
      columns: [...columns, ...optional.filter((column) => present.includes(column))],
      utf8: false,
    });
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${path} is not a whole parquet file: ${(error as Error).message}`, {
      code: "DATA",
      cause: error,
    });
  }
}

/** A text cell, which arrives as a string or as its UTF-8 bytes. */
export function textOf(value: unknown): string {
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : String(value);
}

/** A binary cell. */
export function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw new UserError(`expected bytes in a binary column, found ${typeof value}`, { code: "DATA" });
}
