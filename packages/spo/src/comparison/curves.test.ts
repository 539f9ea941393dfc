import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { band, type Curve, leadOver, qualityAt, timeToReach } from "./curves.js";

const rising: Curve = [
  { x: 0, quality: 1 },
  { x: 10, quality: 2 },
  { x: 20, quality: 5 },
];

describe("a curve", () => {
  test("is linear between its points, flat before the first and unknown after the last", () => {
    expect(qualityAt(rising, 5)).toBeCloseTo(1.5);
    expect(qualityAt(rising, 20)).toBe(5);
    expect(qualityAt([{ x: 3, quality: 7 }], 1)).toBe(7);
    expect(qualityAt(rising, 20.1)).toBeUndefined();
  });

  test("reaches a quality at the first place where it is that good, even if it falls again", () => {
    const falling: Curve = [...rising, { x: 30, quality: 0 }];
    expect(timeToReach(falling, 3.5)).toBeCloseTo(15);
    expect(timeToReach(falling, 1)).toBe(0);
    expect(timeToReach(falling, 5.1)).toBeUndefined();
  });

  test("at the place where it reaches a quality has that quality", () => {
    const qualities = fc.array(fc.double({ min: -5, max: 5, noNaN: true }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(qualities, fc.double({ min: 0, max: 0.999, noNaN: true }), (list, share) => {
        const curve = [-6, ...list].map((quality, i) => ({ x: 3 * i * i, quality }));
        const wanted = -6 + share * (Math.max(...list) + 6);
        const reached = timeToReach(curve, wanted) as number;
        expect(qualityAt(curve, reached)).toBeCloseTo(wanted, 6);
      }),
    );
  });
});

test("a band lies between the least and the best run, and ends where the shortest does", () => {
  const other: Curve = [
    { x: 0, quality: 1 },
    { x: 16, quality: 9 },
  ];
  const points = band([rising, other], 5);
  expect(points.map(({ x }) => x)).toEqual([0, 4, 8, 12, 16]);
  for (const { quality, low, high } of points) {
    expect(low).toBeLessThanOrEqual(quality);
    expect(high).toBeGreaterThanOrEqual(quality);
  }
  expect(points.at(-1)).toMatchObject({ high: 9, low: qualityAt(rising, 16) });
});

describe("a lead", () => {
  const slow: Curve = [
    { x: 0, quality: 1 },
    { x: 20, quality: 2 },
    { x: 40, quality: 1.5 },
  ];

  test("is the ratio of what both spent until the other's best", () => {
    expect(leadOver(rising, slow, 1)).toEqual({ quality: 2, other: 20, own: 10, ratio: 2 });
  });

  test("has no ratio where this one is never as good, and says how long it tried", () => {
    expect(leadOver(slow, rising, 1)).toEqual({ quality: 5, other: 20, spent: 40 });
  });

  test("is nothing over a method that is never better than the base", () => {
    expect(
      leadOver(
        rising,
        [
          { x: 0, quality: 1 },
          { x: 9, quality: 0.5 },
        ],
        1,
      ),
    ).toBeUndefined();
  });
});
