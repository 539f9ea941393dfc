import { describe, expect, test } from "vitest";
import {
  autocast,
  enableGrad,
  engineFacts,
  getThreads,
  inferenceMode,
  noGrad,
  ones,
  scope,
  setThreads,
  tensor,
  UserError,
} from "./index.js";

function leaf(...values: number[]) {
  const x = tensor(values);
  x.requiresGrad = true;
  return x;
}

test("noGrad records nothing, enableGrad inside it does, and an exception puts the mode back", () =>
  scope(() => {
    const x = leaf(2);
    expect(x.mul(2).requiresGrad).toBe(true);
    noGrad(() => {
      expect(x.mul(2).requiresGrad).toBe(false);
      expect(enableGrad(() => x.mul(2).requiresGrad)).toBe(true);
      expect(x.mul(2).requiresGrad).toBe(false);
    });
    expect(() =>
      noGrad(() => {
        throw new Error("stop");
      }),
    ).toThrow("stop");
    expect(x.mul(2).requiresGrad).toBe(true);
  }));

test("inferenceMode makes tensors that no graph may save", () =>
  scope(() => {
    const x = leaf(2);
    const inside = inferenceMode(() => x.mul(3));
    expect(inside.item()).toBe(6);
    expect(inside.requiresGrad).toBe(false);
    expect(() => inside.mul(x)).toThrow(/[Ii]nference/);
    expect(x.mul(x).requiresGrad).toBe(true);
  }));

describe("autocast", () => {
  test("multiplies matrices in its dtype and leaves other operators alone", () =>
    scope(() => {
      const x = ones([4, 4]);
      autocast({ dtype: "bfloat16" }, () => {
        expect(x.matmul(x).dtype).toBe("bfloat16");
        expect(x.add(x).dtype).toBe("float32");
      });
      expect(x.matmul(x).dtype).toBe("float32");
    }));

  test("nests, and an exception puts back what was", () =>
    scope(() => {
      const x = ones([4, 4]);
      autocast({ dtype: "bfloat16" }, () => {
        expect(() =>
          autocast({ dtype: "float16" }, () => {
            expect(x.matmul(x).dtype).toBe("float16");
            throw new Error("stop");
          }),
        ).toThrow("stop");
        expect(x.matmul(x).dtype).toBe("bfloat16");
      });
      expect(x.matmul(x).dtype).toBe("float32");
    }));

  test("gives gradients in the parameters' dtype", () =>
    scope(() => {
      const w = ones([4, 4]);
      w.requiresGrad = true;
      autocast({ dtype: "bfloat16" }, () => ones([2, 4]).matmul(w))
        .sum()
        .backward();
      expect(w.grad?.dtype).toBe("float32");
      expect(w.grad?.toNumbers()).toEqual(Array.from({ length: 16 }, () => 2));
    }));
});

test("threads are set and told, within what the machine has", () => {
  const before = getThreads();
  setThreads(1);
  expect(getThreads()).toBe(1);
  expect(() => setThreads(0)).toThrow("threads must be from 1");
  expect(() => setThreads(100_000)).toThrow("threads must be from 1");
  setThreads(before);
});

test("engineFacts tells libtorch's version", () => {
  expect(engineFacts().libtorch).toMatch(/^2\.\d+\.\d+/);
});

test("threads that this machine cannot use are refused in words", () => {
  for (const count of [0, 1_000_000]) expect(() => setThreads(count)).toThrow(UserError);
  expect(() => setThreads(0)).toThrow(/^0 threads: threads must be from 1 to \d+\.$/);
});
