import fc from "fast-check";
import { expect, test } from "vitest";
import { Columns, thinnedPlaces } from "./columns.js";

const made = (values: readonly number[]): Columns => {
  const columns = new Columns();
  for (const [i, value] of values.entries()) columns.push(i + 1, { loss: value });
  return columns;
};

test("few points are given as they are, what is not finite as null", () => {
  const columns = made([3, Number.NaN, 1]);
  expect(columns.series("loss", { most: 10 })).toEqual({
    key: "loss",
    x: [1, 2, 3],
    y: [3, null, 1],
    points: 3,
  });
  expect(columns.series("none", { most: 10 })).toBeUndefined();
});

test("a metric that comes late has nothing before, one that stops nothing behind", () => {
  const columns = new Columns();
  columns.push(1, { a: 1 });
  columns.push(2, { a: 2, b: 5 });
  columns.push(3, { b: 6 });
  expect(columns.series("b", { most: 10 })?.y).toEqual([null, 5, 6]);
  expect(columns.series("a", { most: 10 })).toMatchObject({ x: [1, 2], y: [1, 2] });
});

test("thinning keeps the first, the last, the lowest and the highest, in order and about as many as asked", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1, maxLength: 3000 }),
      fc.integer({ min: 4, max: 200 }),
      (values, most) => {
        const places = thinnedPlaces(Float64Array.from(values), most);
        expect(places).toEqual([...new Set(places)].sort((a, b) => a - b));
        expect(places.length).toBeLessThanOrEqual(most + 2);
        expect([places[0], places.at(-1)]).toEqual([0, values.length - 1]);
        const kept = places.map((place) => values[place] as number);
        expect([Math.min(...kept), Math.max(...kept)]).toEqual([Math.min(...values), Math.max(...values)]);
      },
    ),
  );
});

test("a single peak among a million points, and one that is not finite before it, is kept", () => {
  const values = new Float64Array(1_000_000);
  values[700_000] = Number.NaN;
  values[700_001] = 5;
  expect(thinnedPlaces(values, 1000)).toContain(700_001);
});

test("smoothing is the moving average over all points, not over those that are left", () => {
  const values = Array.from({ length: 500 }, (_, i) => Math.sin(i / 7) + i / 100);
  const whole = made(values).series("loss", { most: 1000, smoothing: 0.9 });
  const thin = made(values).series("loss", { most: 40, smoothing: 0.9 });
  for (const [i, x] of (thin?.x ?? []).entries()) expect(thin?.smooth?.[i]).toBe(whole?.smooth?.[x - 1]);
  expect(whole?.smooth?.[0]).toBeCloseTo(values[0] as number, 12); // no pull to 0 at the start
  const [a, b] = values as [number, number];
  expect(whole?.smooth?.[1]).toBeCloseTo((0.09 * a + 0.1 * b) / 0.19, 12);
});
