import { noGrad, scope, type Tensor, tensor } from "@spo/torch";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ratioFigures, spoLoss } from "./spo-loss.js";

const logProb = fc.double({ min: -3, max: 3, noNaN: true });
const sides = fc.record({ win: logProb, lose: logProb, refWin: logProb, refLose: logProb });
const settings = { beta: 10, clip: 0.1 };
const lossOf = (values: Record<"win" | "lose" | "refWin" | "refLose", number>): number =>
  scope(() => {
    const one = (x: number): Tensor => tensor([x], { dtype: "float64" });
    return spoLoss(
      {
        win: one(values.win),
        lose: one(values.lose),
        refWin: one(values.refWin),
        refLose: one(values.refLose),
      },
      settings,
    ).loss.item();
  });

test("a policy equal to the reference has the loss ln 2", () => {
  fc.assert(
    fc.property(logProb, logProb, (win, lose) => {
      expect(lossOf({ win, lose, refWin: win, refLose: lose })).toBeCloseTo(Math.LN2, 12);
    }),
  );
});

test("swapping win and lose negates the margin", () => {
  // −ln σ(m) − (−ln σ(−m)) = −m
  fc.assert(
    fc.property(sides, (v) => {
      const swapped = lossOf({ win: v.lose, lose: v.win, refWin: v.refLose, refLose: v.refWin });
      const clamped = (d: number): number => Math.log(Math.min(1.1, Math.max(0.9, Math.exp(d))));
      const margin = 10 * (clamped(v.win - v.refWin) - clamped(v.lose - v.refLose));
      expect(swapped - lossOf(v)).toBeCloseTo(margin, 9);
    }),
  );
});

test("a side outside the clamp has no gradient, and one on its bound or inside has", () => {
  const gradient = (logRatio: number): number =>
    scope(() => {
      const win = tensor([logRatio], { dtype: "float64" });
      win.requiresGrad = true;
      const zero = tensor([0], { dtype: "float64" });
      spoLoss({ win, lose: zero, refWin: zero, refLose: zero }, settings).loss.backward();
      return win.grad?.item() as number;
    });
  expect(gradient(0.5)).toBe(0);
  expect(gradient(-0.5)).toBe(0);
  expect(gradient(Math.log1p(0.1))).toBeLessThan(0);
  expect(gradient(Math.log1p(-0.1))).toBeLessThan(0);
  expect(gradient(0.05)).toBeLessThan(0);
});

test("the loss agrees with clamping the ratio itself, in value and gradient", () => {
  fc.assert(
    fc.property(sides, (v) =>
      scope(() => {
        const leaf = (x: number): Tensor => {
          const made = tensor([x], { dtype: "float64" });
          made.requiresGrad = true;
          return made;
        };
        const [win, lose, win2, lose2] = [leaf(v.win), leaf(v.lose), leaf(v.win), leaf(v.lose)];
        const [refWin, refLose] = noGrad(() => [
          tensor([v.refWin], { dtype: "float64" }),
          tensor([v.refLose], { dtype: "float64" }),
        ]) as [Tensor, Tensor];
        spoLoss({ win, lose, refWin, refLose }, settings).loss.backward();
        const ratio = (a: Tensor, b: Tensor): Tensor => a.sub(b).exp().clamp(0.9, 1.1).log();
        ratio(win2, refWin).sub(ratio(lose2, refLose)).mul(10).logSigmoid().neg().mean().backward();
        expect(win.grad?.item()).toBeCloseTo(win2.grad?.item() as number, 9);
        expect(lose.grad?.item()).toBeCloseTo(lose2.grad?.item() as number, 9);
      }),
    ),
  );
});

test("the figures count sides and pairs outside the clamp", () => {
  const figures = ratioFigures([0.2, 0, 0.05], [-0.2, 0.2, 0], 0.1);
  expect(figures.clipped).toBeCloseTo(3 / 6, 12);
  expect(figures.withoutGradient).toBeCloseTo(1 / 3, 12);
  expect(figures.accuracy).toBeCloseTo(2 / 3, 12);
});
