// Settings of the guards against a judge that is exploited. No tensor code: help and checks need no engine.
import { scorerText } from "@spo/records/config";
import { UserError } from "@spo/torch/files";
import { z } from "zod";
import { MOST_FACTOR, MOST_PROMPTS, MOST_STEPS } from "../bounds.js";

/** For the schema of a recipe that trains a policy. */
export const guardSettings = {
  guards: z
    .strictObject({
      heldOutScorers: z
        .array(scorerText())
        .default([])
        .describe("scorers or judges that train nothing, for the held-out samples; two see more than one"),
      imagesPerPrompt: z
        .int()
        .min(1)
        .max(MOST_PROMPTS)
        .default(1)
        .describe(
          "held-out samples of each prompt, from different noise; with two and more their diversity is measured",
        ),
      patience: z
        .int()
        .positive()
        .max(MOST_STEPS)
        .nullable()
        .default(null)
        .describe(
          "measurements since the best held-out scores, with a training score above its value there, after which the guard acts; null: it only watches",
        ),
      minDiversity: z
        .number()
        .gt(0)
        .max(1)
        .nullable()
        .default(null)
        .describe(
          "least diversity of the held-out samples, as a share of the base's, below which the guard acts; null: it only watches",
        ),
      action: z
        .enum(["stop", "lower"])
        .default("stop")
        .describe(
          "stop, with the weights of the best held-out scores as the result, or without patience the last that are diverse enough; or lower the learning rate",
        ),
      lowerBy: z
        .number()
        .gt(0)
        .lt(1)
        .default(0.5)
        .describe("what the learning rate is multiplied by where the guard lowers it"),
      normPenalty: z
        .number()
        .min(0)
        .max(MOST_FACTOR)
        .default(0)
        .describe(
          "weight in the loss of predictions that are longer than the reference's (NormGuard); 0: none",
        ),
    })
    .prefault({}),
};

/** Settings of a recipe's guards. */
export type GuardSettings = z.output<(typeof guardSettings)["guards"]>;

/**
 * Throws a UserError (`CONFIG`) for a guard that could not act: without held-out scorers, without held-out samples, of one sample a prompt
 * where their diversity counts, or without a training score; and for a held-out scorer that is the judge itself.
 *
 * samples: held-out samples that are drawn. judges: what the training learns from. hasScore: whether the training has a
 * score of its own, which may rise where it should not.
 */
export function requireGuards(
  { heldOutScorers, patience, minDiversity, imagesPerPrompt }: GuardSettings,
  { samples, judges = [], hasScore }: { samples: number; judges?: readonly string[]; hasScore: boolean },
): void {
  const bad = (what: string, hint: string): UserError => new UserError(what, { code: "CONFIG", hint });
  if (patience !== null && heldOutScorers.length === 0)
    throw bad(
      "guards.patience is set, and there are no held-out scorers: the guard could see no fall.",
      "Name scorers that train nothing, --guards.held-out-scorers clip:FOLDER, or leave out guards.patience.",
    );
  if (minDiversity !== null && imagesPerPrompt === 1)
    throw bad(
      "guards.minDiversity compares the samples of one prompt, and guards.imagesPerPrompt is 1.",
      "Give --guards.images-per-prompt 2, or leave out guards.minDiversity.",
    );
  if (samples === 0 && (heldOutScorers.length > 0 || imagesPerPrompt > 1))
    throw bad(
      "guards measure held-out samples, and none are drawn.",
      "Give --samples and prompts that are not trained on, --held-out FILE.",
    );
  if (patience !== null && !hasScore)
    throw bad(
      "guards.patience compares with the training's own score, and this training has none.",
      "Leave it out: random judges and plain prediction (sft) exploit nothing.",
    );
  for (const scorer of heldOutScorers) {
    const hint =
      "Name one that trains nothing: NAME:PATH, as clip:FOLDER or spm:FOLDER, or a file of your own.";
    if (scorer === "random" || scorer === "spm")
      throw bad(`The held-out scorer ${scorer} names no scorer with its place.`, hint);
    if (judges.includes(scorer)) throw bad(`The held-out scorer ${scorer} is the judge that trains.`, hint);
  }
  const twice = heldOutScorers.find((scorer, i) => heldOutScorers.indexOf(scorer) !== i);
  if (twice !== undefined) throw bad(`The held-out scorer ${twice} is named twice.`, "Name another one.");
}
