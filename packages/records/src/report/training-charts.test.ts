import { expect, test } from "vitest";
import type { Event } from "../index.js";
import { accuracyCharts } from "./training-charts.js";

const time = { at: "", wall: 0, cpu: 0 };
const measured = (step: number, accuracy: number): Event => ({
  type: "eval",
  step,
  metrics: { "accuracy/t=0": accuracy },
  time,
});
const seriesOf = (...events: Event[]) => {
  const chart = accuracyCharts(events)[0];
  return chart?.kind === "line" ? chart.series.map(({ name, points }) => [name, points[0]?.y]) : [];
};

test("a preference model that has only begun to train is shown as untrained alone, and later measurements by their step", () => {
  expect(seriesOf(measured(0, 0.4))).toEqual([["untrained", 0.4]]);
  expect(seriesOf(measured(0, 0.4), measured(50, 0.6))).toEqual([
    ["untrained", 0.4],
    ["step 50", 0.6],
  ]);
});
