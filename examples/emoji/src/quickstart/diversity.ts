import { mean } from "@spo/records";
import type { ImageFigures } from "../judge/evaluate.js";

/**
 * Of each image the mean distance to the other images of its prompt, 0 where there is no other: the root of their mean squared difference,
 * pixels from −1 to 1. As `spo compare` and the guards of a training measure it.
 */
export function diversities(images: readonly Pick<ImageFigures, "prompt" | "rgb">[]): number[] {
  return images.map((image) => {
    const others = images.filter((other) => other !== image && other.prompt === image.prompt);
    return others.length > 0 ? mean(others.map(({ rgb }) => distance(image.rgb, rgb))) : 0;
  });
}

const distance = (a: Uint8Array, b: Uint8Array): number =>
  Math.sqrt(a.reduce((sum, value, i) => sum + (value - (b[i] as number)) ** 2, 0) / a.length) / 127.5;
