import { expect, test } from "vitest";
import type { ImageOfSet } from "./image-set.js";
import { sideBySide } from "./side-by-side.js";

const image = (path: string, prompt: string, seed?: number): ImageOfSet => ({ path, prompt, seed });
const shortly = async (source: ReturnType<typeof sideBySide>): Promise<string[]> =>
  (await source.pairs(0)).map(({ prompt, model0, model1, image0, image1 }) => {
    const path = (of: typeof image0): string => (of as { path: string }).path;
    return `${prompt}: ${model0} ${path(image0)}, ${model1} ${path(image1)}`;
  });

test("of each two models every image of the same prompt and seed, in whatever order they lie", async () => {
  const sets = [
    { model: "base", images: [image("1", "bear", 0), image("2", "bear", 1), image("3", "cat", 0)] },
    { model: "spo", images: [image("4", "cat", 0), image("5", "bear", 1)] },
    { model: "dpo", images: [image("6", "bear", 1)] },
  ];
  expect(await shortly(sideBySide(sets))).toEqual([
    "bear: base 2, spo 5",
    "cat: base 3, spo 4",
    "bear: base 2, dpo 6",
    "bear: spo 5, dpo 6",
  ]);
});

test("images without seeds are matched by their order", async () => {
  const sets = ["a", "b"].map((model) => ({
    model,
    images: [image(`${model}1`, "x"), image(`${model}2`, "x")],
  }));
  expect(await shortly(sideBySide(sets))).toEqual(["x: a a1, b b1", "x: a a2, b b2"]);
});

test("of one model its images of a prompt two by two", async () => {
  const images = [0, 1, 2].flatMap((seed) => [
    image(`b${seed}`, "bear", seed),
    image(`c${seed}`, "cat", seed),
  ]);
  expect(await shortly(sideBySide([{ model: "m", images }]))).toEqual([
    "bear: m b0, m b1",
    "cat: m c0, m c1",
  ]);
});

test("unjudged, and refused where there is nothing to compare or two have one name", async () => {
  const set = { model: "m", images: [image("1", "bear", 0)] };
  expect(() => sideBySide([set])).toThrow(/no two images of one prompt/);
  expect(() => sideBySide([set, { model: "n", images: [image("2", "cat", 0)] }])).toThrow(
    /same prompt and seed/,
  );
  expect(() => sideBySide([set, set])).toThrow(/Two folders are called m/);
  const [facts] = await sideBySide([set, { ...set, model: "n" }]).facts(0);
  expect(facts).toMatchObject({ labelled: false, label0: Number.NaN });
});
