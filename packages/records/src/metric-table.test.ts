import { expect, test } from "vitest";
import type { Event } from "./events.js";
import { csvOf, metricTable } from "./metric-table.js";

const time = { at: "2026-11-30T01:02:03.000Z", wall: 1, cpu: 1 };
const events: Event[] = [
  { type: "start", kind: "train spo", time },
  { type: "step", step: 1, total: 2, metrics: { loss: 0.5, 'a "b", c': 1 }, time },
  { type: "eval", step: 1, metrics: { score: null, "=1+1": 2 }, time },
];

test("each update and measurement is a row; what it does not have is empty, what was not finite NaN", () => {
  expect(csvOf(metricTable(events)).split("\r\n")).toEqual([
    `type,step,at,loss,"a ""b"", c",score,'=1+1`,
    `step,1,${time.at},0.5,1,,`,
    `eval,1,${time.at},,,NaN,2`,
    "",
  ]);
});

test("a run without metrics gives the head alone", () => {
  expect(csvOf(metricTable(events.slice(0, 1)))).toBe("type,step,at\r\n");
});
