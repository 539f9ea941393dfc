import type { Event } from "@spo/records";
import { describe, expect, test } from "vitest";
import { addSpent, flopsOf, nothingSpent, SpentMeter } from "./spent.js";

const at = (wall: number, cpu = wall): Event["time"] => ({ at: "", wall, cpu });
const step = (number: number, wall: number, passes: Record<string, number> = {}): Event => ({
  ...{ type: "step", step: number, total: 9, metrics: {} },
  passes,
  time: at(wall, wall / 2),
});

describe("what a training spent", () => {
  test("is the time of its steps, without measuring and saving", () => {
    const events: Event[] = [
      { type: "start", kind: "train dpo", time: at(0) },
      { type: "eval", step: 0, metrics: {}, time: at(5, 2.5) },
      step(1, 7, { unetPolicy: 3 }),
      { type: "checkpoint", step: 1, folder: "", time: at(20, 10) },
      step(2, 23, { unetPolicy: 4 }),
    ];
    const { spent } = new SpentMeter(events);
    expect(spent.wall).toBe(2 + 3);
    expect(spent.cpu).toBe(1 + 1.5);
    expect(spent.passes).toMatchObject({ unetPolicy: 7, vaeEncode: 0 });
  });

  test("goes on after a new process, whose clock begins at 0 and whose loading is no training", () => {
    const meter = new SpentMeter([
      { type: "start", kind: "train dpo", time: at(0) },
      step(1, 4),
      { type: "checkpoint", step: 1, folder: "", time: at(5, 2) },
      { type: "resume", step: 1, time: at(60, 30) },
    ]);
    meter.add(step(2, 63));
    expect(meter.spent.wall).toBe(4 + 3);
  });

  test("counts the pairs that a preference model is shown before its first step", () => {
    const { spent } = new SpentMeter([
      { type: "start", kind: "train spm", time: at(0) },
      { type: "phase", name: "noised pairs", done: 1, total: 1, time: at(8, 8) },
      { type: "eval", step: 0, metrics: {}, time: at(30, 30) },
      { ...step(1, 31), time: at(31, 31) },
    ]);
    expect(spent.wall).toBe(9);
  });

  test("does not count those pairs again when they are made anew after a stop", () => {
    const { spent } = new SpentMeter([
      { type: "start", kind: "train spm", time: at(0) },
      step(1, 4),
      { type: "checkpoint", step: 1, folder: "", time: at(5) },
      { type: "resume", step: 1, time: at(2) },
      { type: "phase", name: "noised pairs", done: 1, total: 1, time: at(10) },
      step(2, 11),
    ]);
    expect(spent.wall).toBe(4 + 1);
  });
});

test("operations are those of all passes, each by its own cost", () => {
  const { passes } = nothingSpent();
  const each = { ...passes, unetPolicy: 10, vaeDecode: 100 };
  const spent = { ...nothingSpent(), passes: { ...passes, unetPolicy: 3, vaeDecode: 2, judgeText: 9 } };
  expect(flopsOf(spent, each)).toBe(230);
  expect(flopsOf(addSpent(spent, spent), each)).toBe(460);
});
