import { Generator, rand, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import {
  CHANGES,
  changedPairs,
  damagedPairs,
  fadedPairs,
  feedbackPairs,
  mismatchedPairs,
  realPairs,
  renderingPairs,
} from "./pair-kinds.js";

const random = (): Generator => new Generator(5);
const captionOf = ["apple", "apple", "boat", "cloud"];
const real = rand([4, 3, 64, 64], { generator: random() }).mul(1.6).sub(1);
const numbers = (images: Tensor): string => String(images.toTypedArray());
const rows = captionOf.map((_, row) => scope(() => numbers(real.narrow(0, row, 1))));

test.each([
  ["damaged", damagedPairs],
  ["faded", fadedPairs],
])("%s pairs have the artwork itself over another image of the same", (kind, make) => {
  const pairs = make({ real, captionOf, rows: [0, 2, 3] }, 12, random());
  expect(pairs).toHaveLength(12);
  for (const pair of pairs) {
    const row = rows.indexOf(numbers(pair.win));
    expect([0, 2, 3]).toContain(row);
    expect([pair.caption, pair.kind]).toEqual([captionOf[row], kind]);
    expect(rows).not.toContain(numbers(pair.lose));
  }
});

test("mismatched pairs have artwork over that of another concept", () => {
  const pairs = mismatchedPairs({ real, captionOf, rows: [0, 1, 2, 3] }, 12, random());
  expect(pairs).toHaveLength(12);
  for (const { caption, win, lose } of pairs) {
    expect(captionOf[rows.indexOf(numbers(win))]).toBe(caption);
    expect(captionOf.filter((other) => other !== caption)).toContain(captionOf[rows.indexOf(numbers(lose))]);
  }
});

test("real pairs leave out concepts without artwork, and mirror every second winner", () => {
  const samples = rand([2, 3, 64, 64], { generator: new Generator(6) });
  const input = { samples, captions: ["boat", "dragon"], real, captionOf };
  const pairs = realPairs(input, 40, random());
  expect(pairs.length).toBeGreaterThan(8);
  expect(pairs.length).toBeLessThan(32);
  const mirrored = scope(() => numbers(real.narrow(0, 2, 1).flip([3])));
  const winners = pairs.map(({ win }) => numbers(win));
  expect(new Set(pairs.map(({ caption }) => caption))).toEqual(new Set(["boat"]));
  expect(new Set(winners)).toEqual(new Set([rows[2], mirrored]));
});

test("pairs of renderings show one concept twice, in two renderings where there are two, and are ties", () => {
  const pairs = renderingPairs({ real, captionOf }, 16, random());
  expect(pairs).toHaveLength(16);
  const rowsOf = (image: Tensor): number =>
    [image, scope(() => image.flip([3]))]
      .map((side) => rows.indexOf(numbers(side)))
      .find((row) => row >= 0) ?? -1;
  for (const { caption, win, lose, isTie } of pairs) {
    const [one, other] = [rowsOf(win), rowsOf(lose)];
    expect([captionOf[one], captionOf[other], isTie]).toEqual([caption, caption, true]);
    if (caption === "apple") expect([one, other].sort()).toEqual([0, 1]);
    expect(numbers(win)).not.toBe(numbers(lose));
  }
  expect(new Set(pairs.map(({ caption }) => caption))).toEqual(new Set(captionOf));
});

const mean = (images: Tensor): number => scope(() => images.mean().item());
/** What each change moves, up or down. */
const moved = {
  hue: (x: Tensor) => mean(x.select(1, 0)) - mean(x.select(1, 2)), // red against blue
  saturation: (x: Tensor) => mean(x.amax([1]).sub(x.amin([1]))),
  sharpness: (x: Tensor) =>
    mean(
      x
        .narrow(3, 1, 63)
        .sub(x.narrow(3, 0, 63))
        .abs(),
    ),
};

test.each(CHANGES)(
  "%s is changed one way and the other by turns, so that neither way is what is preferred",
  (kind) => {
    scope(() => {
      const pairs = changedPairs(kind, { real, captionOf, rows: [0, 2, 3] }, 12, random());
      const signs = pairs.map(({ win, lose }) => Math.sign(moved[kind](lose) - moved[kind](win)));
      expect(signs).toEqual(signs.map((_, i) => (i % 2 ? 1 : -1)));
      for (const { win, caption } of pairs) expect(captionOf[rows.indexOf(numbers(win))]).toBe(caption);
    });
  },
);

test("a labeller that labels nothing is asked nothing: it may not know what is held out", () => {
  const labeller = {} as Parameters<typeof feedbackPairs>[0]["labeller"];
  expect(feedbackPairs({ samples: real, captions: captionOf, labeller, gap: 1 }, 0, random())).toEqual([]);
});
