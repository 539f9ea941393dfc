// Prompts that are encoded, and the text encoders that a prompt cache frees.
import { textEncodersOf } from "../recipes/training/encoders-in-turn.js";
import { AT_ONCE } from "../recipes/training/prompt-cache.js";
import { encodeBlank } from "./conditions.js";
import type { Phase } from "./job.js";
import { bytesOf, type PlannedModels } from "./models.js";

/** Where prompts are encoded. */
export interface PlannedTexts {
  /** Null: when they are needed, by text encoders that stay. */
  promptCache: string | null;
  device: string;
}

/** Bytes of the text encoders that a job with a prompt cache frees before it begins; 0 without one. */
export const freedTexts = ({ pipe }: PlannedModels, { promptCache }: PlannedTexts): number =>
  promptCache === null ? 0 : bytesOf(textEncodersOf(pipe).flatMap((encoder) => encoder.parameters()));

/**
 * Encodes prompts: n of them so many times, or with a prompt cache as many at a time as that does, before all else. Then a CPU holds all
 * text encoders, another device one at a time.
 */
export function textPhase(
  models: PlannedModels,
  texts: PlannedTexts,
  { n, runs, count }: { n: number; runs: number; count?: Phase["body"] },
): Phase {
  const isCached = texts.promptCache !== null;
  const each = textEncodersOf(models.pipe).map((encoder) => bytesOf(encoder.parameters()));
  const held = texts.device === "cpu" ? freedTexts(models, texts) : Math.max(...each);
  return {
    name: "text",
    runs: isCached ? 1 : runs,
    before: isCached ? held : 0,
    body: (meter) => {
      count?.(meter);
      encodeBlank(isCached ? AT_ONCE : n, models);
    },
  };
}
