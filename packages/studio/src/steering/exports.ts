// The result of a training in another layout, written by the command.
import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { UserError } from "@spo/records";
import { z } from "zod";
import type { FoundRun } from "../runs/find-runs.js";
import type { JobWords } from "./job-queue.js";

/** What `spo convert` makes of a result; merged: the base model with the LoRA in it, as one file. */
const LAYOUTS = ["kohya", "diffusers", "peft", "merged", "single-file"] as const;
type Layout = (typeof LAYOUTS)[number];

/** What the page asks for. */
export const ExportWish = z.strictObject({ layout: z.enum(LAYOUTS) });

const resultOf = ({ folder }: FoundRun): string => join(folder, "model");
const loraOf = (run: FoundRun): string => join(resultOf(run), "pytorch_lora_weights.safetensors");

/** The layouts in which a run's result can be written: none before it is there, and none of a preference model. */
export function exportsOf(run: FoundRun): Layout[] {
  if (existsSync(loraOf(run))) return ["kohya", "diffusers", "peft", "merged"];
  return existsSync(join(resultOf(run), "model_index.json")) ? ["single-file"] : [];
}

/**
 * The command that writes a run's result beside the run, as `NAME-kohya.safetensors`.
 *
 * root: the folder of the runs. model: the base, as the run's config names it.
 *
 * Throws a UserError (`USAGE`) for a layout that this result has not.
 */
export function exportWords(root: string, run: FoundRun, model: unknown, layout: Layout): JobWords {
  if (!exportsOf(run).includes(layout))
    throw new UserError(`The result of ${run.name} cannot be written as ${layout}.`, { code: "USAGE" });
  const words =
    layout === "merged"
      ? [placeOf(run, String(model)), "--lora", loraOf(run), "--to", "single-file"]
      : [resultOf(run), "--to", layout];
  return {
    kind: "convert",
    run: `${relative(root, run.folder)}-${layout}.safetensors`,
    words,
    device: "disk",
  };
}

/** A path of a run's config counts from the run's folder; what is none there is the name of a model on a hub. Never an option. */
function placeOf({ folder }: FoundRun, model: string): string {
  const path = resolve(folder, model);
  return existsSync(path) || model.startsWith("-") ? path : model;
}
