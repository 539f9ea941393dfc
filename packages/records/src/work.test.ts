import { afterEach, expect, test, vi } from "vitest";
import { PHASE_SPANS, WorkMeter } from "./work.js";

afterEach(() => {
  vi.restoreAllMocks();
});

test("the clock of an outer phase stands still in an inner one", () => {
  // A clock that moves only when it is told to: a busy machine may stop this process at any place.
  let milliseconds = 0;
  vi.spyOn(performance, "now").mockImplementation(() => milliseconds);
  const pass = (ms: number): void => {
    milliseconds += ms;
  };
  const meter = new WorkMeter();
  meter.phase("outer", () => {
    pass(3);
    meter.phase("inner", () => pass(20));
    pass(4);
  });
  const { phases } = meter.take();
  expect(phases.inner?.wall).toBeCloseTo(0.02, 9);
  expect(phases.outer?.wall).toBeCloseTo(0.007, 9);
});

test("a phase that is waited for is timed to its end, also where it fails", async () => {
  let milliseconds = 0;
  vi.spyOn(performance, "now").mockImplementation(() => milliseconds);
  const meter = new WorkMeter();
  const wait = async (ms: number): Promise<number> => {
    await Promise.resolve();
    milliseconds += ms;
    if (ms === 7) throw new Error("failed");
    return ms;
  };
  expect(await meter.phaseOf("pictures", () => wait(30))).toBe(30);
  await expect(meter.phaseOf("pictures", () => wait(7))).rejects.toThrow("failed");
  expect(meter.take().phases.pictures?.wall).toBeCloseTo(0.037, 9);
});

test("who listens hears of each phase when it has ended, with the phases inside it", () => {
  let milliseconds = 100;
  vi.spyOn(performance, "now").mockImplementation(() => milliseconds);
  const heard: unknown[] = [];
  const listen = (span: unknown): void => void heard.push(span);
  PHASE_SPANS.subscribe(listen);
  try {
    new WorkMeter().phase("outer", () => {
      milliseconds += 3;
      new WorkMeter().phase("inner", () => {
        milliseconds += 20;
      });
    });
  } finally {
    PHASE_SPANS.unsubscribe(listen);
  }
  new WorkMeter().phase("unheard", () => {});
  expect(heard).toEqual([
    { name: "inner", start: 103, end: 123 },
    { name: "outer", start: 100, end: 123 },
  ]);
});

test("taking starts again at zero, and an exception still books its phase", () => {
  const meter = new WorkMeter();
  meter.count("unetPolicy", 3);
  expect(() =>
    meter.phase("broken", () => {
      throw new Error("x");
    }),
  ).toThrow();
  const first = meter.take();
  expect(first.passes.unetPolicy).toBe(3);
  expect(Object.keys(first.phases)).toEqual(["broken"]);
  expect(meter.take().passes.unetPolicy).toBe(0);
});
