import { expect, test } from "vitest";
import type { ImageFigures } from "../judge/evaluate.js";
import { extremePlaces } from "./extremes.js";

const image = (prompt: string, score: number): ImageFigures => ({
  ...{ prompt, seed: 0, rgb: new Uint8Array(), side: 0, spm: 0, onPrompt: true, features: [] },
  ...{ logProb: score, realism: 0 },
});
const PROMPTS = ["apple", "boat", "cloud", "dog"];
// Changes of the three images of each prompt.
const CHANGES = [
  [1, 3, 2], // mean 2: the last image
  [-4, 0, 4], // mean 0: the second
  [9, 0, 0], // mean 3: the second, of two as near
  [-1, -2, -9], // mean −4: the second
];
const base = PROMPTS.flatMap((prompt) => [0, 1, 2].map(() => image(prompt, 5)));
const spo = PROMPTS.flatMap((prompt, p) =>
  (CHANGES[p] as number[]).map((change) => image(prompt, 5 + change)),
);

test("prompts are ordered by the mean change of their images, and each is shown by its most usual one", () => {
  expect(extremePlaces(base, spo, 2)).toEqual({ most: [7, 2], least: [10, 4] });
  expect(extremePlaces(base, spo, 1)).toEqual({ most: [7], least: [10] });
});

test("no prompt is at both ends", () => {
  expect(extremePlaces(base, spo, 6)).toEqual({ most: [7, 2], least: [10, 4] });
  expect(extremePlaces(base.slice(0, 9), spo.slice(0, 9), 6)).toEqual({ most: [7], least: [4] });
});
