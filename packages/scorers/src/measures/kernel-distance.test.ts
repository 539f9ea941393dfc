import { Generator, randn, scope } from "@spo/torch";
import { describe, expect, test } from "vitest";
import { type GroupedFeatures, kernelDistance } from "./kernel-distance.js";

/** Groups of normal features about their own centres. */
function features(perGroup: number, { seed, shift = 0 }: { seed: number; shift?: number }): GroupedFeatures {
  const names = ["a", "b", "c", "d", "e", "f"];
  const generator = new Generator(seed);
  const centres = new Generator(7);
  const rows: number[][] = [];
  const groups: string[] = [];
  for (const name of names) {
    scope(() => {
      const centre = randn([8], { generator: centres }).mul(2);
      for (let i = 0; i < perGroup; i++) {
        rows.push(randn([8], { generator }).add(centre).add(shift).toNumbers());
        groups.push(name);
      }
    });
  }
  return { features: rows, groups };
}

describe("the kernel distance", () => {
  test("of two samples of one distribution is near 0, of a shifted one well above it", () => {
    const real = features(12, { seed: 1 });
    const same = kernelDistance(real, features(12, { seed: 2 }));
    const shifted = kernelDistance(real, features(12, { seed: 2, shift: 1 }));
    expect(Math.abs(same.value)).toBeLessThan(0.2);
    expect(shifted.value).toBeGreaterThan(3 * Math.abs(same.value) + 0.3);
    expect(shifted.low).toBeGreaterThan(same.high);
  });

  test("does not take fewer images of each group for another distribution", () => {
    const real = features(5, { seed: 1 });
    const values = [3, 40].map((count) => kernelDistance(real, features(count, { seed: 3 })).value);
    expect(Math.abs((values[0] as number) - (values[1] as number))).toBeLessThan(0.2);
  });

  test("is what the formula of the unbiased estimate says, with one group", () => {
    const one = (rows: number[][]): GroupedFeatures => ({ features: rows, groups: rows.map(() => "a") });
    const real = [[0], [2], [4]];
    const generated = [[1], [3]];
    const std = Math.sqrt(4) + 1e-3; // of the real ones, unbiased
    const k = (a: number, b: number): number => (((a - 2) / std) * ((b - 2) / std) + 1) ** 3;
    const within = (k(0, 2) + k(0, 4) + k(2, 4)) / 3 + k(1, 3);
    const between = real.flatMap(([a]) => generated.map(([b]) => k(a as number, b as number)));
    const expected = within - (2 * between.reduce((x, y) => x + y, 0)) / between.length;
    expect(kernelDistance(one(real), one(generated)).value).toBeCloseTo(expected, 5);
  });
});
