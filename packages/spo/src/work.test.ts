import { expect, test } from "vitest";
import { WorkMeter } from "./work.js";

const spin = (ms: number): void => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

test("the clock of an outer phase stands still in an inner one", () => {
  const meter = new WorkMeter();
  meter.phase("outer", () => meter.phase("inner", () => spin(20)));
  const { phases } = meter.take();
  expect(phases.inner?.wall).toBeGreaterThan(0.019);
  expect(phases.outer?.wall).toBeLessThan(0.01);
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
