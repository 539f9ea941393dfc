import type { Denoiser } from "@spo/diffusion";
import { timed, type WorkMeter } from "@spo/records";
import { noGrad, type Tensor } from "@spo/torch";
import { dpoLoss } from "../../objectives/dpo-loss.js";
import type { NoisyPairs } from "./noisy-pairs.js";

/** What a loss of pairs is computed with. */
export interface PairObjective {
  /** With the graph. Row i is the prompt of pair i. */
  policy: Denoiser;
  reference: Denoiser;
  /** sft: plain prediction on the winners. */
  objective: "dpo" | "sft";
  beta: number;
  meter?: WorkMeter;
}

/** The loss of n pairs. */
export interface PairLoss {
  /** Mean over the pairs, with the graph. */
  loss: Tensor;
  /** Implicit accuracy of `dpo`; 0 for `sft`. Waits for the device when it is asked for. */
  readonly accuracy: number;
  /** Predictions that backward goes back through. */
  samples: number;
}

/** Diffusion-DPO's loss of noised pairs, or that of pretraining on their winners. Source: algorithm 6. */
export function pairLoss(
  pairs: NoisyPairs,
  { policy, reference, objective, beta, meter }: PairObjective,
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
  return {
    loss: result.loss,
    get accuracy() {
      return result.accuracy;
    },
    samples: both.length,
  };
}
