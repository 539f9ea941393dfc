import { expect, test } from "vitest";
import { watchedPlaces } from "./candidate-strips.js";

test("two prompts of a round are watched, of a judge of latents one, whichever process samples them", () => {
  expect(watchedPlaces([0, 1, 2, 3], { sees: "predictions" })).toEqual([0, 1]);
  expect(watchedPlaces([0, 1, 2, 3], { sees: "latents" })).toEqual([0]);
  expect(watchedPlaces([1, 3], { sees: "predictions" })).toEqual([0]);
  expect(watchedPlaces([1, 3], { sees: "latents" })).toEqual([]);
  expect(watchedPlaces([2, 0], { sees: "latents" })).toEqual([1]);
});
