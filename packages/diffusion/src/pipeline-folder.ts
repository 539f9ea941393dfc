// A whole pipeline as a folder in diffusers' layout.
import { cpSync, existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type DType, UserError, writeFileAtomic } from "@spo/torch";
import { readJson } from "./config.js";
import { saveModel } from "./model-folder.js";
import type { PipelineModels } from "./single-file.js";

/** Parts of a folder that are copied as they are. */
const COPIED = ["tokenizer", "tokenizer_2", "scheduler"];

/**
 * Writes models as a folder that diffusers' `from_pretrained` reads. Fuse adapters first.
 *
 * like: the folder of a pipeline of this family, whose tokenizers, scheduler and index are taken over; parts that are not written here (a
 * safety checker) are none in the new index. dtype, variant: of the weights' files, see `saveModel`. model_index.json comes last, so a folder
 * that has one is whole. Throws a UserError when `like` is no such folder or the folder to write.
 */
export function savePipelineFolder(
  folder: string,
  models: PipelineModels,
  { like, dtype, variant }: { like: string; dtype?: DType; variant?: string },
): void {
  if (resolve(folder) === resolve(like))
    throw new UserError(`${folder} would be written over itself.`, {
      code: "USAGE",
      hint: "Give another folder.",
    });
  const index = readJson(join(like, "model_index.json")) as Record<string, unknown>;
  const written = new Set<string>();
  for (const [part, model] of Object.entries(models)) {
    saveModel(join(folder, part), model, { dtype, variant });
    written.add(part);
  }
  for (const part of COPIED) {
    if (!existsSync(join(like, part))) continue;
    cpSync(join(like, part), join(folder, part), { recursive: true });
    written.add(part);
  }
  const parts = Object.entries(index).map(([name, value]) => [
    name,
    Array.isArray(value) && !written.has(name) ? [null, null] : value,
  ]);
  const kept = {
    ...Object.fromEntries(parts),
    ...("safety_checker" in index && { requires_safety_checker: false }),
  };
  writeFileAtomic(join(folder, "model_index.json"), `${JSON.stringify(kept, null, 2)}\n`);
}
