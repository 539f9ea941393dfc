import { expect, test } from "vitest";
import { LossScaler, liveTensors, scope, type Tensor, tensor } from "../index.js";

const leaf = (...values: number[]): Tensor => {
  const x = tensor(values);
  x.requiresGrad = true;
  return x;
};

test("gradients come out as without a scale, and small ones survive float16", () =>
  scope(() => {
    const scaler = new LossScaler();
    const x = leaf(3);
    const loss = (): Tensor => x.to({ dtype: "float16" }).mul(1e-4).to({ dtype: "float32" }).mul(1e-4).sum();
    loss().backward();
    expect((x.grad as Tensor).item()).toBe(0);
    x.grad = undefined;
    scaler.scale(loss()).backward();
    expect(scaler.unscale([x, leaf(1)])).toBe(true);
    expect((x.grad as unknown as Tensor).item()).toBeCloseTo(1e-8, 11);
    scaler.dispose();
  }));

test("the scale halves with each overflow, doubles after an interval without one, and starts as PyTorch's", () =>
  scope(() => {
    const scaler = new LossScaler({ interval: 3 });
    const x = leaf(1, 1);
    const step = (gradient: number[]): [finite: boolean, scale: number] => {
      x.grad = tensor(gradient);
      const finite = scaler.unscale([x]);
      scaler.update();
      return [finite, scaler.value];
    };
    expect(scaler.value).toBe(65536);
    expect(step([1, Number.POSITIVE_INFINITY])).toEqual([false, 32768]);
    expect(step([Number.NaN, 1])).toEqual([false, 16384]);
    expect(step([1, 1])).toEqual([true, 16384]);
    expect(step([1, 1])).toEqual([true, 16384]);
    expect(step([1, 1])).toEqual([true, 32768]);
    expect(step([1, 1])).toEqual([true, 32768]);
    expect(step([1, Number.NEGATIVE_INFINITY])).toEqual([false, 16384]); // and the count begins anew
    expect(step([1, 1])).toEqual([true, 16384]);
    expect(step([1, 1])).toEqual([true, 16384]);
    expect(step([1, 1])).toEqual([true, 32768]);
    scaler.dispose();
  }));

test("its state goes on where another's stood, and nothing is left behind", () => {
  const before = liveTensors();
  scope(() => {
    const [first, second] = [new LossScaler({ interval: 2 }), new LossScaler({ interval: 2 })];
    first.unscale([]);
    first.update();
    for (const [name, value] of first.state()) second.state().get(name)?.copy_(value);
    second.unscale([]);
    second.update();
    expect(second.value).toBe(131072);
    for (const scaler of [first, second]) scaler.dispose();
  });
  expect(liveTensors()).toBe(before);
});
