import { expect, test } from "vitest";
import { grad } from "./modes.js";
import { OperatorTimes } from "./operator-times.js";
import { ones } from "./ops.gen.js";
import { scope } from "./scope.js";
import type { Tensor } from "./tensor.js";

test("operators are counted, those of backward too, until the count ends", () => {
  scope(() => {
    const x = ones([64, 64]);
    x.requiresGrad = true;
    const work = (): void => scope(() => void (grad([x.matmul(x).sigmoid().sum()], [x]) as Tensor[]));
    const counted = (times: OperatorTimes): Map<string, number> =>
      new Map(times.take().map(({ name, calls }) => [name, calls]));
    {
      using times = new OperatorTimes();
      work();
      const calls = counted(times);
      expect([
        calls.get("aten::sigmoid"),
        calls.get("aten::sigmoid_backward"),
        calls.get("aten::mm"),
      ]).toEqual([1, 1, 3]);
      work();
      work();
      const found = times.take();
      expect(found.find(({ name }) => name === "aten::sigmoid")?.calls).toBe(2);
      const seconds = found.map((each) => each.seconds);
      expect(seconds).toEqual(seconds.toSorted((a, b) => b - a));
      expect(Math.min(...seconds)).toBeGreaterThanOrEqual(0);
    }
    work();
    using times = new OperatorTimes();
    expect(times.take()).toEqual([]);
  });
});
