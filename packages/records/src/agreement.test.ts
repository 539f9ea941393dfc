import { expect, test } from "vitest";
import { cohenKappa, krippendorffAlpha } from "./index.js";

const times = <T>(n: number, value: T): T[] => Array.from({ length: n }, () => value);

test("Cohen's κ of 20, 5, 10 and 15 of fifty is 0.4", () => {
  const labels: [string, string][] = [
    ...times<[string, string]>(20, ["yes", "yes"]),
    ...times<[string, string]>(5, ["yes", "no"]),
    ...times<[string, string]>(10, ["no", "yes"]),
    ...times<[string, string]>(15, ["no", "no"]),
  ];
  expect(cohenKappa(labels)).toBeCloseTo(0.4, 12);
});

test("Krippendorff's α of his example with four observers and gaps is 0.743", () => {
  const observers = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."];
  const things = Array.from({ length: 12 }, (_, i) =>
    observers.flatMap((each) => (each[i] === "." ? [] : [each[i] as string])),
  );
  expect(krippendorffAlpha(things)).toBeCloseTo(0.743, 3);
});

test("full agreement is 1, and contradiction in every thing below 0", () => {
  expect(
    krippendorffAlpha([
      ["a", "a"],
      ["b", "b", "b"],
    ]),
  ).toBe(1);
  expect(
    cohenKappa([
      ["a", "a"],
      ["b", "b"],
    ]),
  ).toBe(1);
  expect(
    krippendorffAlpha([
      ["a", "b"],
      ["b", "a"],
    ]),
  ).toBeLessThan(0);
});
