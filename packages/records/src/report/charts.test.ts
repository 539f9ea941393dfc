import { expect, test } from "vitest";
import { chartSvg } from "./charts.js";

/** The texts below the x axis, from left to right. */
const xTicks = (xs: readonly number[]): string[] => {
  const points = xs.map((x) => ({ x, y: x }));
  const svg = chartSvg({
    title: "t",
    caption: "c",
    kind: "line",
    x: { label: "x" },
    y: { label: "y" },
    series: [{ name: "s", tone: "spo", points }],
  });
  return [...svg.text.matchAll(/text-anchor="middle">([^<]*)<\/text>/g)]
    .map(([, text]) => text as string)
    .filter((text) => text !== "x");
};

test("an axis of whole numbers has no fractions on it, one of measured numbers may", () => {
  expect(xTicks([1, 2, 3, 4])).toEqual(["1", "2", "3", "4"]);
  expect(xTicks([1, 400])).toEqual(["100", "200", "300", "400"]);
  expect(xTicks([0, 0.9])).toContain("0.4");
});
