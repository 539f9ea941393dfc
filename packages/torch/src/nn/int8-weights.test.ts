// Layers of weights in 8 bits, against the same layers of the rounded weights in float64.
import { expect, test } from "vitest";

import type { DType } from "../dtype.js";
import { Generator } from "../generator.js";
import { autocast, grad } from "../modes.js";
import { conv2d, linear, upsampleNearest2d } from "../ops.gen.js";
import { randn } from "../random.js";
import { rehearse } from "../rehearsal/rehearse.js";
import { liveTensors, scope } from "../scope.js";
import { type Tensor, tensor } from "../tensor.js";
import { quantizeInt8 } from "./int8-weights.js";
import { Conv2d, Linear } from "./layers.js";
import { copyWeights, initialize } from "./module.js";

const draw = (shape: readonly number[], seed: number): Tensor =>
  randn(shape, { generator: new Generator(seed) });

/** Largest difference, as a part of the largest number there. */
function error(found: Tensor, truth: Tensor): number {
  expect(found.shape).toEqual(truth.shape);
  return found.to({ dtype: "float64" }).sub(truth).abs().max().item() / truth.abs().max().item();
}

function quantized<L extends Linear | Conv2d>(layer: L): L {
  initialize(layer, new Generator(5));
  quantizeInt8([layer]);
  return layer;
}

/** The weight that a layer computes with, in float64. */
const fullWeight = ({ weight, weight_scale }: Linear | Conv2d): Tensor =>
  weight
    .to({ dtype: "float64" })
    .mul((weight_scale as Tensor).reshape([-1, ...weight.shape.slice(1).map(() => 1)]));

test("a row's largest value is ±127, and the others are the nearest of its steps; a row of zeros stays", () =>
  scope(() => {
    const layer = new Linear(3, 3, { bias: false });
    layer.weight.assign(tensor([1, -2, 0.3, 0, 0, 0, 5, 5.01, -0.02], { shape: [3, 3] }));
    quantizeInt8([layer]);
    expect(layer.weight.dtype).toBe("int8");
    expect(layer.weight.toNumbers()).toEqual([64, -127, 19, 0, 0, 0, 127, 127, -1]);
    const scales = (layer.weight_scale as Tensor).toNumbers();
    for (const [i, largest] of [2, 0, 5.01].entries()) expect(scales[i]).toBeCloseTo(largest / 127, 7);
    const before = layer.weight_scale;
    quantizeInt8([layer]);
    expect(layer.weight_scale).toBe(before);
    expect([...layer.namedParameters().keys()]).toEqual(["weight", "weight_scale"]);
  }));

const LAYERS = {
  "a linear map": { make: () => new Linear(20, 12), shape: [2, 3, 20] },
  "a linear map without bias": { make: () => new Linear(20, 12, { bias: false }), shape: [5, 20] },
  "a convolution 1×1": { make: () => new Conv2d(8, 6, 1), shape: [2, 8, 5, 4] },
  "a convolution 3×3": { make: () => new Conv2d(16, 6, 3, { padding: 1 }), shape: [2, 16, 9, 8] },
  "a convolution of stride 2": {
    make: () => new Conv2d(8, 6, 3, { stride: 2, padding: 1 }),
    shape: [1, 8, 9, 8],
  },
  "a convolution of stride 2 without padding": {
    make: () => new Conv2d(8, 6, 2, { stride: 2 }),
    shape: [1, 8, 9, 8],
  },
} as const;

test.each(Object.entries(LAYERS))("%s gives what the rounded weights give, and x their gradient", (_, of) => {
  for (const [dtype, tolerance] of [
    ["float32", 2e-6],
    ["bfloat16", 2e-2],
  ] as [DType, number][])
    scope(() => {
      const layer = quantized(of.make());
      layer.bias?.assign(layer.bias.to({ dtype }));
      const x = draw(of.shape, 1).to({ dtype });
      const exact = x.to({ dtype: "float64" });
      for (const leaf of [x, exact]) leaf.requiresGrad = true;
      const y = layer.forward(x);
      const bias = layer.bias?.to({ dtype: "float64" });
      const truth =
        layer instanceof Linear
          ? linear(exact, fullWeight(layer), bias)
          : conv2d(exact, fullWeight(layer), bias, layer.stride, layer.padding);
      expect([y.dtype, error(y, truth) < tolerance]).toEqual([dtype, true]);
      const along = draw(y.shape, 2);
      const [dx] = grad([y], [x], { gradients: [along.to({ dtype })] }) as [Tensor];
      const [dTruth] = grad([truth], [exact], { gradients: [along.to({ dtype: "float64" })] }) as [Tensor];
      expect([dx.dtype, error(dx, dTruth) < tolerance]).toEqual([dtype, true]);
    });
});

test("a blank layer takes the rounded weights with their scale; one that has values does not", () =>
  scope(() => {
    const layer = quantized(new Linear(6, 4));
    const copy = new Linear(6, 4);
    copyWeights(layer, copy);
    const x = draw([3, 6], 1);
    expect(copy.forward(x).toNumbers()).toEqual(layer.forward(x).toNumbers());
    const other = new Linear(6, 4);
    initialize(other, new Generator(2));
    expect(() => copyWeights(layer, other)).toThrow(/8 bits/);
  }));

test("the convolution of a doubled map is that of the map doubled before", () =>
  scope(() => {
    const layer = quantized(new Conv2d(8, 4, 3, { padding: 1 }));
    const x = draw([1, 8, 5, 4], 1);
    const truth = conv2d(
      upsampleNearest2d(x, [10, 8]).to({ dtype: "float64" }),
      fullWeight(layer),
      (layer.bias as Tensor).to({ dtype: "float64" }),
      1,
      1,
    );
    expect(error(layer.forwardDoubled(x), truth)).toBeLessThan(2e-6);
  }));

test("under autocast the products are in its dtype, and the gradient in that of x", () =>
  scope(() => {
    for (const layer of [quantized(new Linear(8, 6)), quantized(new Conv2d(8, 6, 1))]) {
      const x = draw(layer instanceof Linear ? [2, 8] : [2, 8, 3, 3], 1);
      x.requiresGrad = true;
      const y = autocast({ device: "cpu", dtype: "bfloat16" }, () => layer.forward(x));
      const [dx] = grad([y.to({ dtype: "float32" }).square().sum()], [x]) as [Tensor];
      expect([y.dtype, dx.dtype]).toEqual(["bfloat16", "float32"]);
    }
  }));

test("the gradient has a gradient", () =>
  scope(() => {
    for (const layer of [quantized(new Linear(6, 5)), quantized(new Conv2d(6, 5, 3, { padding: 1 }))]) {
      const second = (forward: (x: Tensor) => Tensor, dtype: DType): Tensor => {
        const x = draw(layer instanceof Linear ? [3, 6] : [2, 6, 4, 4], 1).to({ dtype });
        x.requiresGrad = true;
        const y = forward(x);
        const [first] = grad([y.mul(y).mul(y).sum()], [x], { createGraph: true }) as [Tensor];
        return (grad([first.square().sum()], [x]) as [Tensor])[0];
      };
      const truth = second((x) => {
        const bias = (layer.bias as Tensor).to({ dtype: "float64" });
        return layer instanceof Linear
          ? linear(x, fullWeight(layer), bias)
          : conv2d(x, fullWeight(layer), bias, 1, 1);
      }, "float64");
      expect(
        error(
          second((x) => layer.forward(x), "float32"),
          truth,
        ),
      ).toBeLessThan(1e-5);
    }
  }));

test("weights in full stand in memory for one product at a time, and a plan knows it", () => {
  const layers = [new Linear(64, 64, { bias: false }), new Linear(64, 64, { bias: false })] as const;
  quantizeInt8(layers);
  const before = liveTensors();
  const { bytes, flops } = rehearse(() =>
    scope(() => {
      const x = randn([2, 64], { device: "meta", generator: new Generator(1) });
      x.requiresGrad = true;
      const y = layers[1].forward(layers[0].forward(x));
      y.sum().backward();
      x.grad = undefined;
    }),
  );
  const full = 4 * 64 * 64;
  expect(bytes.peak).toBeGreaterThan(full);
  expect(bytes.peak).toBeLessThan(full + 4096); // x, y and gradients take 512 each
  expect(flops).toEqual({ forward: 2 * 2 * 2 * 64 * 64, backward: 2 * 2 * 2 * 64 * 64 });
  expect(liveTensors()).toBe(before);
  const map = rehearse(() =>
    scope(() => {
      const conv = new Conv2d(16, 16, 3, { padding: 1, bias: false });
      quantizeInt8([conv]);
      const x = randn([1, 16, 8, 8], { device: "meta", generator: new Generator(1) });
      x.requiresGrad = true;
      const y = conv.forward(x);
      y.sum().backward();
      x.grad = undefined;
      return y.shape;
    }),
  );
  expect(map.value).toEqual([1, 16, 8, 8]);
  expect(map.flops.backward).toBe(2 * 16 * 64 * 16 * 9);
});
