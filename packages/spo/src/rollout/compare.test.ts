import fc from "fast-check";
import { expect, test } from "vitest";
import { compare } from "./compare.js";

const score = fc.double({ min: -200, max: 200, noNaN: true });
const table = fc
  .tuple(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 1, max: 5 }))
  .chain(([k, prompts]) =>
    fc.array(fc.array(score, { minLength: prompts, maxLength: prompts }), { minLength: k, maxLength: k }),
  );

test("the winner's score is the highest and the loser's the lowest", () => {
  fc.assert(
    fc.property(table, fc.double({ min: 0, max: 1, noNaN: true }), (scores, threshold) => {
      const { win, lose } = compare(scores, threshold);
      for (const [b] of (scores[0] as number[]).entries()) {
        const ofPrompt = scores.map((row) => row[b] as number);
        expect(ofPrompt[win[b] as number]).toBe(Math.max(...ofPrompt));
        expect(ofPrompt[lose[b] as number]).toBe(Math.min(...ofPrompt));
      }
    }),
  );
});

test("a pair is valid exactly when p_best − p_worst of their softmax is above the threshold", () => {
  fc.assert(
    fc.property(table, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (scores, threshold) => {
      const { win, lose, margin, valid } = compare(scores, threshold);
      for (const [b] of (scores[0] as number[]).entries()) {
        const best = scores[win[b] as number]?.[b] as number;
        const worst = scores[lose[b] as number]?.[b] as number;
        const p = 1 / (1 + Math.exp(worst - best));
        expect(margin[b]).toBeCloseTo(p - (1 - p), 9);
        if (Math.abs((margin[b] as number) - threshold) > 1e-9) expect(valid[b]).toBe(2 * p - 1 > threshold);
      }
    }),
  );
});

test("adding the same number to all scores of a prompt changes nothing but rounding", () => {
  fc.assert(
    fc.property(table, fc.integer({ min: -100, max: 100 }), (scores, shift) => {
      const rounded = scores.map((row) => row.map((s) => Math.round(s * 8) / 8));
      const before = compare(rounded, 0.3);
      const after = compare(
        rounded.map((row) => row.map((s) => s + shift)),
        0.3,
      );
      expect(after).toEqual(before);
    }),
  );
});

test("equal scores make no pair, even at threshold 0", () => {
  expect(
    compare(
      [
        [1, 2],
        [1, 2],
      ],
      0,
    ).valid,
  ).toEqual([false, false]);
});

test("among all candidates the gap is that of their whole softmax, so that others make it smaller", () => {
  fc.assert(
    fc.property(table, (scores) => {
      const [all, pair] = [compare(scores, 0, { among: "all" }), compare(scores, 0)];
      for (const [b] of (scores[0] as number[]).entries()) {
        const powers = scores.map((row) =>
          Math.exp((row[b] as number) - Math.max(...scores.map((r) => r[b] as number))),
        );
        const sum = powers.reduce((a, c) => a + c, 0);
        expect(all.margin[b]).toBeCloseTo((Math.max(...powers) - Math.min(...powers)) / sum, 9);
        expect(all.margin[b]).toBeLessThanOrEqual((pair.margin[b] as number) + 1e-12);
      }
    }),
  );
});
