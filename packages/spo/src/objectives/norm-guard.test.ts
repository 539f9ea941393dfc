import { scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { normHinge, normRatios } from "./norm-guard.js";

test("the ratio is of Euclidean norms, and the hinge grows with what is longer alone", () => {
  scope(() => {
    const reference = tensor([3, 4, 3, 4, 3, 4], { shape: [3, 1, 1, 2] }); // of length 5 each
    const policy = tensor([6, 8, 0, 4, 3, 4], { shape: [3, 1, 1, 2] });
    policy.requiresGrad = true;
    const ratios = normRatios(policy, reference);
    for (const [i, ratio] of ratios.toNumbers().entries())
      expect(ratio).toBeCloseTo([2, 0.8, 1][i] as number, 6);
    const hinge = normHinge(ratios);
    expect(hinge.item()).toBeCloseTo(1 / 3, 6);
    hinge.backward();
    // d(‖p‖/5)/dp = p/(‖p‖·5), a third of it, for the first row; none for the others.
    const gradient = policy.grad?.toNumbers() as number[];
    for (const [i, value] of gradient.entries())
      expect(value).toBeCloseTo([0.6 / 15, 0.8 / 15, 0, 0, 0, 0][i] as number, 6);
  });
});
