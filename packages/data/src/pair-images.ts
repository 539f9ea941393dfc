import { seedAt } from "@spo/torch/seed";
import type { ImageOfSet } from "./image-set.js";
import { listedSource } from "./layouts/listed.js";
import { permutation } from "./order.js";
import type { PairSource } from "./preference.js";

/** Which images of a prompt are set against each other. */
export interface PairImagesOptions {
  /** At most so many pairs of a prompt, drawn at random; default all n(n−1)/2. */
  perPrompt?: number;
  /** Share of the prompts whose pairs are of the split `test`; the others are of `train`. */
  testShare?: number;
  /** Of the draws. */
  seed?: number;
}

/** Unjudged pairs of images that were made for the same prompt. Prompts with one image give none. */
export function pairImages(
  images: readonly ImageOfSet[],
  { perPrompt, testShare = 0, seed = 0 }: PairImagesOptions = {},
): PairSource {
  const groups = new Map<string, ImageOfSet[]>();
  for (const image of images) groups.set(image.prompt, [...(groups.get(image.prompt) ?? []), image]);
  const prompts = [...groups.keys()];
  const tests = new Set(
    [...permutation(prompts.length, seedAt(seed, "test"))].slice(0, Math.round(testShare * prompts.length)),
  );
  const listed = prompts.flatMap((prompt, p) => {
    const group = groups.get(prompt) as ImageOfSet[];
    const all = group.flatMap((image0, i) => group.slice(i + 1).map((image1) => [image0, image1] as const));
    const drawn = [...permutation(all.length, seedAt(seed, "pairs", prompt))].slice(
      0,
      perPrompt ?? all.length,
    );
    return drawn
      .sort((a, b) => a - b)
      .map((place) => {
        const [image0, image1] = all[place] as (typeof all)[number];
        return {
          pair: {
            prompt,
            label0: Number.NaN,
            label1: Number.NaN,
            examples: drawn.length,
            labelled: false,
            different: true,
            split: tests.has(p) ? "test" : "train",
            image0: { path: image0.path },
            image1: { path: image1.path },
          },
          where: `${image0.path} and ${image1.path}`,
        };
      });
  });
  return listedSource("jsonl", listed);
}
