import { cat, type Tensor } from "@spo/torch";
import { type SpmLoss, type SpmLossInput, spmLoss } from "../../objectives/spm-loss.js";
import { joinTexts, type PreferenceModel, textRows } from "../../spm/preference-model.js";

/** A part of a batch: n pairs. */
export interface PairLossInput extends Omit<SpmLossInput, "score0" | "score1"> {
  /** The network's input of either side, n rows each. */
  inputs: readonly [Tensor, Tensor];
  /** int64 [n] */
  timesteps: Tensor;
  /** Each prompt once. */
  prompts: readonly string[];
  /** Which of them each pair has. */
  rows: readonly number[];
}

/** Scores of both sides with the graph, [n] each, and the loss of them. Source: algorithm 3c, steps 3 and 4. */
export function pairLoss(
  model: PreferenceModel,
  { inputs, timesteps, prompts, rows, ...labels }: PairLossInput,
): SpmLoss & { score0: Tensor; score1: Tensor } {
  const texts = textRows(model.encode(prompts), rows);
  const scores = model.score(cat([...inputs]), cat([timesteps, timesteps]), joinTexts([texts, texts]));
  const [score0, score1] = scores.chunk(2) as [Tensor, Tensor];
  return { score0, score1, ...spmLoss({ score0, score1, ...labels }) };
}
