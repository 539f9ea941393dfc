import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { epochOrder, type Place, permutation } from "./index.js";

const blocks = fc.array(fc.record({ rows: fc.nat({ max: 6 }), bytes: fc.integer({ min: 1, max: 50 }) }), {
  minLength: 1,
  maxLength: 8,
});
const setting = fc.record({
  seed: fc.nat(),
  epoch: fc.nat({ max: 100 }),
  windowBytes: fc.integer({ min: 1, max: 200 }),
});

/** All places of an epoch, each asked for by its position alone. */
function placesOf(
  set: { rows: number; bytes: number }[],
  options: Parameters<typeof epochOrder>[1],
): Place[] {
  const total = set.reduce((sum, { rows }) => sum + rows, 0);
  return Array.from({ length: total }, (_, position) => {
    const order = epochOrder(set, options);
    const { start, places } = order.window(order.windowOf(position));
    return places[position - start] as Place;
  });
}

describe("the order of an epoch", () => {
  test("has each pair once", () => {
    fc.assert(
      fc.property(blocks, setting, (set, options) => {
        const seen = placesOf(set, options).map(({ block, row }) => `${block}/${row}`);
        const all = set.flatMap(({ rows }, block) =>
          Array.from({ length: rows }, (_, row) => `${block}/${row}`),
        );
        expect(seen.sort()).toEqual(all.sort());
      }),
    );
  });

  test("is the same whenever it is asked for, and another with another seed or epoch", () => {
    const set = Array.from({ length: 10 }, () => ({ rows: 10, bytes: 10 }));
    const of = (seed: number, epoch: number): string =>
      JSON.stringify(placesOf(set, { seed, epoch, windowBytes: 30 }));
    expect(of(1, 0)).toBe(of(1, 0));
    expect(new Set([of(1, 0), of(1, 1), of(2, 0)]).size).toBe(3);
  });

  test("without a seed is that of the data", () => {
    fc.assert(
      fc.property(blocks, (set) => {
        const all = set.flatMap(({ rows }, block) =>
          Array.from({ length: rows }, (_, row) => ({ block, row })),
        );
        expect(placesOf(set, { seed: null, epoch: 0, windowBytes: 20 })).toEqual(all);
      }),
    );
  });

  test("holds no more than a window's bytes together, unless one block has more", () => {
    fc.assert(
      fc.property(blocks, setting, (set, options) => {
        const order = epochOrder(set, options);
        for (let w = 0; w < order.windows; w++) {
          const together = [...new Set(order.window(w).places.map(({ block }) => block))];
          const bytes = together.reduce((sum, block) => sum + (set[block]?.bytes ?? 0), 0);
          expect(bytes <= options.windowBytes || together.length === 1).toBe(true);
        }
      }),
    );
  });
});

test("permutations of three come about equally often", () => {
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 6000; seed++) {
    const order = permutation(3, seed).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect(counts.size).toBe(6);
  for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150); // 5 standard deviations
});
