import { describe, expect, test } from "vitest";
import { pairsOf, type ScoredImage, setFigures } from "./set-figures.js";

const image = (
  prompt: string,
  seed: number | undefined,
  score: number,
  features?: number[],
  number?: number,
): ScoredImage => ({
  prompt,
  seed,
  image: number,
  path: `${prompt}-${seed}-${score}`,
  scores: { m: score },
  features,
});

describe("the figures of a set", () => {
  const base = [image("a", 0, 1), image("a", 1, 2), image("b", 0, 3), image("b", 1, 4)];

  test("pair images of the same prompt and seed, in whatever order they come", () => {
    const own = [image("b", 1, 5), image("a", 0, 0), image("c", 0, 9)];
    const { pairs, metrics, images, prompts } = setFigures(own, ["m"], base);
    expect({ pairs, images, prompts }).toEqual({ pairs: 2, images: 3, prompts: 3 });
    expect(metrics.m?.difference?.value).toBe(0); // (5 − 4) and (0 − 1)
    expect(metrics.m?.wins?.value).toBe(0.5);
    expect(metrics.m?.value).toBeCloseTo(14 / 3, 12);
  });

  test("pair by order where a seed is not known, and by number where one seed has several", () => {
    const unseeded = [image("a", undefined, 1), image("b", undefined, 2), image("a", undefined, 3)];
    expect(pairsOf(base, unseeded).map(({ base: from, own }) => [from.scores.m, own.scores.m])).toEqual([
      [1, 1],
      [3, 2],
      [2, 3],
    ]);
    const [first, second] = [image("a", 0, 1, undefined, 0), image("a", 0, 2, undefined, 1)];
    expect(pairsOf([second, first], [first, second]).every(({ base: from, own }) => from === own)).toBe(true);
  });

  test("have a p of the sign test over prompts, not over images", () => {
    const prompts = Array.from({ length: 8 }, (_, i) => `p${i}`);
    const before = prompts.flatMap((prompt) => [image(prompt, 0, 1), image(prompt, 1, 1)]);
    const after = prompts.flatMap((prompt) => [image(prompt, 0, 2), image(prompt, 1, 3)]);
    expect(setFigures(after, ["m"], before).metrics.m?.signTest).toBeCloseTo(2 / 2 ** 8, 12);
    expect(setFigures(before, ["m"], before).metrics.m?.signTest).toBe(1);
  });

  test("measure diversity within prompts and drift from the base's like", () => {
    const [x, y] = [
      [1, 0],
      [0, 1],
    ] as [number[], number[]];
    const from = [image("a", 0, 0, x), image("a", 1, 0, y), image("b", 0, 0, x), image("b", 1, 0, x)];
    const to = [image("a", 0, 0, x), image("a", 1, 0, x), image("b", 0, 0, y), image("b", 1, 0, y)];
    const figures = setFigures(to, ["m"], from);
    expect(setFigures(from, ["m"]).diversity?.value).toBe(0.5); // 1 for a, 0 for b
    expect(figures.diversity?.value).toBe(0); // collapsed to one image a prompt
    expect(figures.drift?.value).toBe(0.75);
  });

  test("leave out what one image a prompt or no features cannot tell", () => {
    const figures = setFigures([image("a", 0, 1, [1, 0])], ["m"], [image("z", 0, 1)]);
    expect(figures).toMatchObject({ pairs: 0, images: 1 });
    expect(figures.metrics.m).toEqual({ value: 1, low: 1, high: 1 });
    expect(figures.diversity ?? figures.drift).toBeUndefined();
  });
});
