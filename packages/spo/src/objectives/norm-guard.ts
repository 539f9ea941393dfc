import { scope, type Tensor } from "@spo/torch";

/**
 * ‖policy‖/‖reference‖ of each row, [n]: how far preference training has inflated a prediction.
 *
 * policy, reference: predictions of the same n latents, [n, c, h, w]. Source: NormGuard (arXiv 2606.27771).
 */
export const normRatios = (policy: Tensor, reference: Tensor): Tensor =>
  scope(() => normOf(policy).div(normOf(reference)));

/** The hinge max(0, r − 1), meaned: nothing while no prediction is longer than the reference's. ratios: [n]. Source: as `normRatios`. */
export const normHinge = (ratios: Tensor): Tensor => scope(() => ratios.sub(1).relu().mean());

const normOf = (rows: Tensor): Tensor => rows.flatten(1).square().sum([1]).sqrt();
