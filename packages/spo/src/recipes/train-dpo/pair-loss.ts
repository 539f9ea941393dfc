import type { Denoiser } from "@spo/diffusion";
import { timed, type WorkMeter } from "@spo/records";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { dpoLoss } from "../../objectives/dpo-loss.js";
import { normHinge, normRatios } from "../../objectives/norm-guard.js";
import type { NoisyPairs } from "./noisy-pairs.js";

/** What a loss of pairs is computed with. */
export interface PairObjective {
  /** With the graph. Row i is the prompt of pair i. */
  policy: Denoiser;
  reference: Denoiser;
  /** sft: plain prediction on the winners. */
  objective: "dpo" | "sft";
  beta: number;
  /** Of `dpo`: weight of the hinge on predictions that are longer than the reference's; 0: none. */
  normPenalty?: number;
  meter?: WorkMeter;
}

/** The loss of n pairs. */
export interface PairLoss {
  /** Mean over the pairs, with the graph. */
  loss: Tensor;
  /** Implicit accuracy of `dpo`; 0 for `sft`. Waits for the device when it is asked for. */
  readonly accuracy: number;
  /** Mean of ‖policy‖/‖reference‖ of the predictions; absent for `sft`, which asks no reference. Waits as well. */
  readonly normRatio?: number;
  /** Predictions that backward goes back through. */
  samples: number;
}

/** Diffusion-DPO's loss of noised pairs, or that of pretraining on their winners. Source: algorithm 6. */
export function pairLoss(
  pairs: NoisyPairs,
  { policy, reference, objective, beta, normPenalty = 0, meter }: PairObjective,
): PairLoss {
  const count = (pairs.target.shape[0] as number) / 2;
  const rows = [...Array(count).keys()];
  if (objective === "sft") {
    const winners = (both: Tensor): Tensor => both.narrow(0, 0, count);
    meter?.count("unetPolicy", count);
    const output = timed(meter, "policy", () =>
      policy.forRows(rows)(winners(pairs.noisy), winners(pairs.timesteps)),
    );
    return { loss: output.sub(winners(pairs.target)).square().mean(), accuracy: 0, samples: count };
  }
  const both = [...rows, ...rows];
  meter?.count("unetPolicy", both.length);
  const model = timed(meter, "policy", () => policy.forRows(both)(pairs.noisy, pairs.timesteps));
  meter?.count("unetReference", both.length);
  const frozen = timed(meter, "reference", () =>
    noGrad(() => reference.forRows(both)(pairs.noisy, pairs.timesteps)),
  );
  const result = dpoLoss({ model, reference: frozen, target: pairs.target, beta });
  const ratios = normRatios(normPenalty > 0 ? model : model.detach(), frozen);
  return {
    loss: normPenalty > 0 ? result.loss.add(normHinge(ratios), { alpha: normPenalty }) : result.loss,
    get accuracy() {
      return result.accuracy;
    },
    get normRatio() {
      return scope(() => ratios.detach().mean().item());
    },
    samples: both.length,
  };
}
