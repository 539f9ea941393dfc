import { full, Generator, rand, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { saturate, sharpen, turnHue } from "./augmentation.js";

test("a cast is as strong one way as the other, greying takes all colour, and sharpening undoes nothing at 0", () => {
  scope(() => {
    const x = rand([2, 3, 16, 16], { generator: new Generator(4) })
      .mul(0.6)
      .add(0.2);
    const apart = (a: Tensor, b: Tensor): number => scope(() => a.sub(b).abs().max().item());
    expect(apart(turnHue(x, 0.6).add(turnHue(x, -0.6)).div(2), x)).toBeLessThan(1e-6);
    const white = full([1, 3, 4, 4], 1);
    expect(apart(turnHue(white, 1), white)).toBe(0);
    const blue = turnHue(full([1, 3, 1, 1], 0), -1).toNumbers();
    expect(blue.map((v) => Number(v.toFixed(4)))).toEqual([-0.35, 0, 0.35]);
    const grey = saturate(x, 0);
    expect(apart(grey.amax([1]), grey.amin([1]))).toBeLessThan(1e-6);
    expect(apart(saturate(x, 1), x)).toBeLessThan(1e-6);
    expect(apart(sharpen(x, 0), x)).toBe(0);
    const edges = (y: Tensor): number =>
      scope(() =>
        y
          .narrow(3, 1, 15)
          .sub(y.narrow(3, 0, 15))
          .abs()
          .mean()
          .item(),
      );
    const strengths = [-1, -0.5, 0, 1].map((amount) => edges(sharpen(x, amount)));
    expect(strengths).toEqual([...strengths].sort((a, b) => a - b));
  });
});
