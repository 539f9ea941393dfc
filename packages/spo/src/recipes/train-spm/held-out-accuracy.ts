// Held-out accuracy of a preference model, kept in its folder.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "@spo/torch/files";
import { readJson } from "@spo/torch/text-files";
import { z } from "zod";

const FILE = "held_out_accuracy.json";

/** By `accuracy/t=…`; null where it is unknown. */
const Accuracy = z.record(z.string(), z.number().min(0).max(1).nullable());

/** Writes it beside the weights. */
export function saveAccuracy(folder: string, accuracy: Readonly<Record<string, number>>): void {
  const known = Object.entries(accuracy).map(([name, value]) => [
    name,
    Number.isFinite(value) ? value : null,
  ]);
  writeFileAtomic(join(folder, FILE), `${JSON.stringify(Object.fromEntries(known), null, 2)}\n`);
}

/** Reads it; undefined where the folder has none or it cannot be read, because it only serves a warning. */
export function readAccuracy(path: string): Record<string, number | null> | undefined {
  const file = join(path, FILE);
  if (!existsSync(path) || !statSync(path).isDirectory() || !existsSync(file)) return undefined;
  try {
    return Accuracy.safeParse(readJson(file)).data;
  } catch {
    return undefined;
  }
}
