// Settings of the questions that a training asks people. No tensor code: help and checks need no engine.
import { splitWeightedSpecs } from "@spo/scorers/reward-spec";
import { UserError } from "@spo/torch/files";
import { z } from "zod";
import { MOST_PROMPTS, MOST_SECONDS, MOST_STEPS } from "../bounds.js";

/** For the schema of a recipe whose judge can be people. */
export const humanSettings = {
  human: z
    .strictObject({
      questions: z
        .int()
        .min(0)
        .max(MOST_PROMPTS)
        .default(0)
        .describe("pairs of a round that people are asked about, in Studio; 0: nobody is asked"),
      askBelow: z
        .number()
        .min(0)
        .max(1)
        .default(1)
        .describe(
          "beside a judge of another kind: people decide the pairs with a smaller preference gap, the judge the others",
        ),
      maxAge: z
        .int()
        .positive()
        .max(MOST_STEPS)
        .default(20)
        .describe(
          "rounds that a pair may be old when it is learned from: the policy that drew it has changed since. Later answers still serve a preference model",
        ),
      open: z
        .int()
        .min(0)
        .max(MOST_PROMPTS)
        .default(40)
        .describe("questions without an answer at which the training waits; at its end it waits for all"),
      patience: z
        .number()
        .min(0)
        .max(MOST_SECONDS)
        .default(3600)
        .describe("seconds that it waits for an answer then"),
      fallback: z
        .enum(["skip", "judge"])
        .default("skip")
        .describe("a question without an answer in time: no pair, or the judge's"),
    })
    .prefault({}),
};

/** Settings of the questions. */
export type HumanSettings = z.output<(typeof humanSettings)["human"]>;

/**
 * Throws a UserError (`CONFIG`) where people are to judge and nobody would be asked, or the judge is asked that there is not, and where a
 * round is sampled in parts.
 */
export function requireHuman(
  { judge, human, reduce }: { judge: string; human: HumanSettings; reduce: "sum" | "exact" },
  { size }: { size: number },
): void {
  const judges = splitWeightedSpecs(judge).map(({ spec }) => spec);
  const isHuman = judges.includes("human");
  const bad = (what: string, hint: string): UserError => new UserError(what, { code: "CONFIG", hint });
  if (isHuman && judges.length > 1)
    throw bad(
      "The judge human stands beside others.",
      "Name the others alone, with --human.questions and --human.ask-below: people decide where they are unsure.",
    );
  if (isHuman && human.questions === 0)
    throw bad("The judge is human, and human.questions is 0.", "Give --human.questions, as 4 of a round.");
  if (isHuman && (human.fallback === "judge" || human.askBelow < 1))
    throw bad(
      "People are the only judge, and human.fallback or human.askBelow leaves pairs to another.",
      "Leave them out, or name a judge.",
    );
  if (human.questions > 0 && (size > 1 || reduce === "exact"))
    throw bad(
      "A training that asks people runs in one process, without --reduce exact.",
      "Leave out --human.questions, or start one process.",
    );
}
