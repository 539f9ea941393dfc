import { mean } from "@spo/records";
import { type ImageFigures, judgeScore } from "../judge/evaluate.js";

/** Places of images, one a prompt. */
export interface ExtremePlaces {
  /** Of the prompts whose mean rose most, the largest rise first. */
  most: number[];
  /** Of those whose mean fell most, or rose least; the worst first. */
  least: number[];
}

/**
 * The prompts at both ends of what the judge says of SPO's images against the base's, at most `count` each and none at both ends; for each
 * the image whose change is nearest to its prompt's mean. base, spo: image i of both is from the same prompt and noise.
 */
export function extremePlaces(
  base: readonly ImageFigures[],
  spo: readonly ImageFigures[],
  count: number,
): ExtremePlaces {
  const gains = base.map((image, i) => judgeScore(spo[i] as ImageFigures) - judgeScore(image));
  const placesOf = new Map<string, number[]>();
  for (const [i, { prompt }] of base.entries()) placesOf.set(prompt, [...(placesOf.get(prompt) ?? []), i]);
  const prompts = [...placesOf.values()].map((places) => {
    const gain = mean(places.map((i) => gains[i] as number));
    const distance = (i: number): number => Math.abs((gains[i] as number) - gain);
    return { gain, place: places.reduce((a, b) => (distance(b) < distance(a) ? b : a)) };
  });
  prompts.sort((a, b) => b.gain - a.gain);
  const each = Math.min(count, Math.floor(prompts.length / 2));
  return {
    most: prompts.slice(0, each).map(({ place }) => place),
    least: prompts
      .slice(prompts.length - each)
      .reverse()
      .map(({ place }) => place),
  };
}
