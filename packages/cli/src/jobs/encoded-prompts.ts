// Prompts of `spo sample` encoded before anything is drawn and kept on disk, so that the text encoders take no memory meanwhile.
import type { GuidedConditions, PromptSyntax, TextToImage } from "@spo/diffusion";
import type { Device } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { encodeFirst, PromptCache } from "spo/recipes";
import type { GridAxis } from "../options/grid-axes.js";
import type { ImageParameters } from "./image-parameters.js";
import { isCut, negativeWords, type PromptWords } from "./prompt-words.js";

/** Throws a UserError (`USAGE`) for what needs the text encoders while images are drawn, or prompts of several contexts. */
export function requireEncodable(
  prompts: readonly PromptWords[],
  {
    axes,
    syntax,
    hasLoras,
  }: { axes: readonly GridAxis[]; syntax: PromptSyntax /** By --lora. */; hasLoras: boolean },
): void {
  const refuse = (why: string, hint: string): never => {
    throw new UserError(`--prompt-cache frees the text encoders before images are drawn, and ${why}.`, {
      code: "USAGE",
      hint,
    });
  };
  const axis = axes.find(({ name }) => name === "checkpoint" || name === "lora");
  if (axis || (axes.length > 0 && hasLoras))
    refuse(
      axis
        ? `--grid of ${axis.name} changes them`
        : "a grid lays the LoRAs of --lora over them for each image",
      "Leave --prompt-cache out, or make one image set for each.",
    );
  const calling = prompts.find(({ loras }) => loras.length > 0);
  if (calling)
    refuse(`${JSON.stringify(calling.words)} calls for a LoRA, which may change them`, "Give it by --lora.");
  const weighted = prompts.find(({ words }) => !isCut(words, syntax));
  if (weighted)
    refuse(
      `${JSON.stringify(weighted.words)} may need several contexts, which are not kept`,
      "Give --prompt-syntax plain, or leave --prompt-cache out.",
    );
}

/** What encodings depend on beside the prompts. */
export interface EncodingSources {
  /** Where encodings are kept. */
  folder: string;
  model: string;
  configs?: string;
  /** Parts of the model, and adapters that are fused into it, with their strengths. */
  files: readonly (readonly [path: string, strength: number])[];
  syntax: PromptSyntax;
}

/**
 * Encodes the prompts of all batches, those alone that are not in the folder yet, frees the text encoders, and puts the rest of the
 * pipeline, which must be on the CPU, onto the device. Returns the conditions of a batch: call it within the scope that uses them.
 */
export function encodeBatches(
  pipe: TextToImage,
  batches: readonly (readonly ImageParameters[])[],
  { folder, model, configs, files, syntax }: EncodingSources,
  device: Device,
): (batch: readonly ImageParameters[]) => GuidedConditions {
  const caches = new Map<string, PromptCache>();
  const cacheOf = ({ width, height, negative }: ImageParameters): PromptCache => {
    const key = JSON.stringify([width, height, negative]);
    const words = negativeWords(negative, syntax);
    const found =
      caches.get(key) ??
      new PromptCache(folder, {
        ...{ pipe, model, configs, files, size: [height, width] },
        negativePrompt: words === "" ? undefined : words,
      });
    caches.set(key, found);
    return found;
  };
  const textsOf = (batch: readonly ImageParameters[]) => ({
    cache: cacheOf(batch[0] as ImageParameters),
    prompts: batch.map(({ prompt }) => prompt),
  });
  encodeFirst(pipe, { texts: batches.map(textsOf), device });
  return (batch) => {
    const { cache, prompts } = textsOf(batch);
    return { conditional: cache.read(prompts), unconditional: cache.read([null]) };
  };
}
