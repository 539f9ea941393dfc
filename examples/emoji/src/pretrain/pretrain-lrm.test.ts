import { expect, test } from "vitest";
import { otherCaptions } from "./pretrain-lrm.js";

test("an image is told from the caption some places on, never from its own", () => {
  expect(otherCaptions(["fox", "owl", "fox", "bee"], 1)).toEqual(["owl", "fox", "bee", "fox"]);
  expect(otherCaptions(["fox", "owl", "fox", "bee"], 2)).toEqual(["bee", "bee", "owl", "owl"]);
});

test("a batch of one caption has no other", () => {
  expect(otherCaptions(["fox", "fox"], 1)).toEqual(["fox", "fox"]);
});
