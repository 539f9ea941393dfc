import { afterEach, expect, test, vi } from "vitest";
import { WorkMeter } from "./work.js";

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
