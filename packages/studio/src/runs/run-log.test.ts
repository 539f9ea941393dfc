import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { RunLog } from "./run-log.js";
import { timeLeft } from "./run-page.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-run-log-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const path = (): string => join(folder, "events.jsonl");
const line = (event: object, wall: number): string =>
  `${JSON.stringify({ ...event, time: { at: "2026-01-01T00:00:00Z", wall, cpu: 0 } })}\n`;

/** A step of two updates, which takes `seconds` of which 3 are sampling; of two processes the second computes longer. */
const step = (number: number, end: number): string =>
  [1, 2]
    .map((update) => ({
      phases: update === 1 ? { sampling: { wall: 3, cpu: 3 } } : { update: { wall: 1, cpu: 1 } },
    }))
    .map(({ phases }, i) => {
      const event = { type: "step", step: number, total: 100, metrics: { loss: number } };
      return `${JSON.stringify({ ...event, time: { at: "2026-01-01T00:00:00Z", wall: end - 1 + i, cpu: 0, phases, ranks: [2, 2.5 + i] } })}\n`;
    })
    .join("");

test("a step's time and its parts are the mean of the newest steps, all their updates counted", async () => {
  const log = new RunLog(folder);
  writeFileSync(
    path(),
    line({ type: "start", kind: "train spo" }, 0) + step(1, 100) + step(2, 110) + step(3, 120),
  );
  await log.read();
  expect(log.perStep).toEqual({
    seconds: 10,
    parts: [
      { part: "sampling", seconds: 3 },
      { part: "update", seconds: 1 },
    ],
    ranks: [4, 6],
  });
});

test("of many steps the newest twenty count, and a pause before going on does not", async () => {
  const log = new RunLog(folder);
  const slow = Array.from({ length: 50 }, (_, i) => step(i + 1, 100 * (i + 1)));
  const fast = Array.from({ length: 20 }, (_, i) => step(i + 51, 5000 + 10 * (i + 1)));
  writeFileSync(path(), [...slow, ...fast].join(""));
  await log.read();
  expect(log.perStep?.seconds).toBeCloseTo(10, 9);
  appendFileSync(path(), line({ type: "resume", step: 70 }, 3) + step(71, 50) + step(72, 57));
  await log.read();
  expect(log.perStep?.seconds).toBe(7);
  expect(log.elapsed).toBe(5200 + 57);
});

test("a log that is cut back forgets what was cut", async () => {
  const log = new RunLog(folder);
  writeFileSync(path(), step(1, 10) + step(2, 20));
  await log.read();
  expect(log.contents.updates.rows).toBe(4);
  truncateSync(path(), step(1, 10).length);
  appendFileSync(path(), step(2, 30));
  await log.read();
  expect(log.contents.updates.rows).toBe(4);
  expect(log.elapsed).toBe(30);
});

test("the time left is what the training told, less what has passed since", () => {
  const told = { left: 120, at: "2026-01-01T00:00:00Z" };
  const at = (seconds: number): number => Date.parse(told.at) + seconds * 1000;
  expect([0, 5, 500, -5].map((seconds) => timeLeft(told, at(seconds)))).toEqual([120, 115, 0, 120]);
  expect(timeLeft({ at: told.at })).toBeUndefined();
  expect(timeLeft(undefined)).toBeUndefined();
});
