// Conditions of a run's prompts, encoded once where they fit into memory, or kept on disk.
import { type Conditions, type GuidedConditions, selectRows, type TextToImage } from "@spo/diffusion";
import { keep, noGrad, scope } from "@spo/torch";
import type { PromptCache } from "./prompt-cache.js";

/** The encodings of this many prompts are kept; of a longer list those of a round are made in that round. */
const KEPT = 256;

/**
 * Returns the conditions of the prompts at the given places: one row each, and one unconditional row for guidance. Call it within the scope
 * that uses them.
 *
 * size: height and width of the images in pixels; cache: where they are.
 */
export function promptConditions(
  pipe: TextToImage,
  prompts: readonly string[],
  size: readonly [number, number],
  cache?: PromptCache,
): (places: readonly number[]) => GuidedConditions {
  if (cache) {
    const away = keep(cache.read([null]));
    return (places) => ({
      conditional: cache.read(places.map((place) => prompts[place] as string)),
      unconditional: away,
    });
  }
  const encode = (texts: readonly string[]): Conditions => pipe.encode(texts, { size }).conditional;
  // The same for every prompt: one row serves all.
  const unconditional = keep(noGrad(() => scope(() => pipe.encode([""], { size }).unconditional)));
  if (prompts.length > KEPT) {
    return (places) => {
      const texts = places.map((place) => prompts[place] as string);
      return { conditional: noGrad(() => scope(() => encode(texts))), unconditional };
    };
  }
  const all = keep(noGrad(() => scope(() => encode(prompts))));
  return (places) => ({ conditional: selectRows(all, places), unconditional });
}

/** Encodes the prompts at the given places by the text encoders as they are, with a graph where they learn. size: as above. */
export const encodePlaces =
  (pipe: TextToImage, prompts: readonly string[], size: readonly [number, number]) =>
  (places: readonly number[]): GuidedConditions =>
    pipe.encode(
      places.map((place) => prompts[place] as string),
      { size },
    );
