import { describe, expect, test } from "vitest";
import { checkpoint } from "../checkpoint.js";
import { noGrad } from "../modes.js";
import { Conv2d, Linear } from "../nn/layers.js";
import { lowRankLinear } from "../nn/low-rank-linear.js";
import { empty, scaledDotProductAttention } from "../ops.gen.js";
import { scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { rehearse } from "./rehearse.js";

const meta = (...shape: number[]): Tensor => empty(shape, { device: "meta" });
const MEGABYTE = 4 * 256 * 1024;

describe("memory", () => {
  test("is the most that was held at one moment, and what is left", () => {
    const { bytes } = rehearse(() => {
      const a = meta(256, 1024);
      scope(() => void a.add(1).mul(2).add(3)); // three more at once, then none
      return a;
    });
    expect(bytes).toMatchObject({ peak: 4 * MEGABYTE, left: MEGABYTE });
  });

  test("of a scope in a scope is free for the next", () => {
    const { bytes } = rehearse(() =>
      scope(() => {
        const a = meta(256, 1024);
        for (let i = 0; i < 5; i++) scope(() => void a.add(1));
      }),
    );
    expect(bytes).toMatchObject({ peak: 2 * MEGABYTE, left: 0 });
  });

  test("counts what autograd keeps after its handles are gone, until backward", () => {
    const x = meta(256, 1024);
    x.requiresGrad = true;
    const { value, bytes } = rehearse(() => scope(() => x.sigmoid().sigmoid().sigmoid().sum()));
    expect(bytes.left).toBe(3 * MEGABYTE + 4);
    const after = rehearse(() => value.backward());
    expect(after.bytes.left).toBe(-2 * MEGABYTE); // three results go, the gradient comes
  });

  test("of a checkpoint is its inputs, until backward has it computed again", () => {
    const x = meta(256, 1024);
    x.requiresGrad = true;
    const three = (y: Tensor): Tensor => scope(() => y.sigmoid().sigmoid().sigmoid());
    const { value, bytes } = rehearse(() => scope(() => checkpoint(three, [checkpoint(three, [x])]).sum()));
    expect(bytes.left).toBe(MEGABYTE + 4); // what the second takes from the first
    const after = rehearse(() => value.backward());
    // Three results again, of the second or of the first, the gradient that comes in and the one that goes out.
    expect(after.bytes.peak).toBeLessThanOrEqual(5 * MEGABYTE);
    expect(after.bytes.left).toBe(0); // the input goes, the gradient comes
  });

  test("counts what a convolution keeps: its input, though its kernel does not learn", () => {
    const layer = new Conv2d(16, 16, 3, { padding: 1 });
    const x = meta(1, 16, 128, 128); // 1 MB
    x.requiresGrad = true;
    const { bytes } = rehearse(() => scope(() => layer.forward(x.sigmoid()).mean()));
    expect(bytes.left).toBe(MEGABYTE + 8); // what sigmoid gave, for both; the mean, and a number that stands for it
  });

  test("counts what is transformed at a time of a large kernel that does not learn, in forward and in backward", () => {
    const layer = new Conv2d(512, 512, 3, { padding: 1 }); // 9 MB, all of it transformed 16, for large maps 36
    layer.arrange_("channels_last");
    const peak = (side: number): number => {
      const x = meta(1, 512, side, side); // half a MB of 16×16
      return rehearse(() => noGrad(() => scope(() => void layer.forward(x)))).bytes.peak;
    };
    expect(peak(16)).toBeGreaterThanOrEqual(16 * MEGABYTE);
    expect(peak(16)).toBeLessThan(17 * MEGABYTE);
    expect(peak(32)).toBeGreaterThanOrEqual(22 * MEGABYTE);
    expect(peak(32)).toBeLessThan(25 * MEGABYTE);
    const x = meta(1, 512, 16, 16);
    x.requiresGrad = true;
    const { value } = rehearse(() => scope(() => layer.forward(x).sum()));
    expect(rehearse(() => value.backward()).bytes.peak).toBeGreaterThanOrEqual(16 * MEGABYTE);
  });

  test("views are free", () => {
    const { bytes } = rehearse(() =>
      scope(() => void meta(256, 1024).transpose(0, 1).unsqueeze(0).narrow(1, 0, 5)),
    );
    expect(bytes.peak).toBe(MEGABYTE);
  });

  test("of attention has no matrix of weights", () => {
    const q = meta(1, 1, 1024, 256);
    const { bytes } = rehearse(() => noGrad(() => scaledDotProductAttention(q, q, q)));
    expect(bytes.peak).toBe(MEGABYTE);
  });
});

describe("operations", () => {
  test("of a checkpoint are done twice, and of its gradients once", () => {
    const layer = new Linear(8, 8).requiresGrad_();
    const forward = 2 * 4 * 8 * 8;
    const run = (call: (f: (...x: Tensor[]) => Tensor, inputs: Tensor[]) => Tensor) =>
      rehearse(() =>
        call((...[x]) => layer.forward(layer.forward(x as Tensor)).exp(), [meta(4, 8)])
          .sum()
          .backward(),
      ).flops;
    expect(run((f, inputs) => f(...inputs))).toEqual({ forward: 2 * forward, backward: 3 * forward });
    expect(run(checkpoint)).toEqual({ forward: 4 * forward, backward: 3 * forward });
  });

  test("of a linear map and of its gradients, where they are wanted", () => {
    const layer = new Linear(8, 16);
    const x = meta(4, 8);
    const forward = 2 * 4 * 8 * 16;
    expect(rehearse(() => layer.forward(x)).flops).toEqual({ forward, backward: 0 });
    layer.requiresGrad_();
    expect(rehearse(() => layer.forward(x)).flops).toEqual({ forward, backward: forward });
    x.requiresGrad = true;
    expect(rehearse(() => layer.forward(x)).flops).toEqual({ forward, backward: 2 * forward });
    expect(rehearse(() => noGrad(() => layer.forward(x))).flops.backward).toBe(0);
  });

  test("of a linear map with a low-rank one beside it, whose base does not learn", () => {
    const [x, down, up, weight] = [meta(4, 8), meta(2, 8), meta(16, 2), meta(16, 8)];
    for (const learns of [x, down, up]) learns.requiresGrad = true;
    const [base, first, second] = [2 * 4 * 8 * 16, 2 * 4 * 8 * 2, 2 * 4 * 2 * 16];
    const { value, flops } = rehearse(() => lowRankLinear(x, { weight }, { down, up, factor: 0.5 }));
    expect(value.shape).toEqual([4, 16]);
    expect(flops).toEqual({ forward: base + first + second, backward: base + 2 * (first + second) });
    const half = (t: Tensor): Tensor => t.to({ dtype: "bfloat16" });
    const run = () => lowRankLinear(half(x), { weight: half(weight) }, { down, up, factor: 0.5 });
    const { value: of } = rehearse(run);
    expect([of.dtype, of.shape]).toEqual(["bfloat16", [4, 16]]);
  });

  test("of a convolution with a stride", () => {
    const layer = new Conv2d(3, 5, 3, { stride: 2, padding: 1 });
    expect(rehearse(() => layer.forward(meta(2, 3, 8, 8))).flops.forward).toBe(
      2 * (2 * 5 * 4 * 4) * (3 * 3 * 3),
    );
  });

  test("of attention: two products, and five in backward", () => {
    const [q, k] = [meta(2, 4, 10, 8), meta(2, 4, 6, 8)];
    q.requiresGrad = true;
    const product = 2 * 2 * 4 * 10 * 6 * 8;
    expect(rehearse(() => scaledDotProductAttention(q, k, k)).flops).toEqual({
      forward: 2 * product,
      backward: 5 * product,
    });
  });
});

test("after a fault the engine is as before", () => {
  expect(() => rehearse(() => meta(2).matmul(meta(3)))).toThrow();
  const { flops } = rehearse(() => meta(2, 3).matmul(meta(3, 4)));
  expect(flops.forward).toBe(2 * 2 * 3 * 4);
});
