// The options of sampling by a judge.
import { UserError } from "@spo/torch/files";
import type { Command } from "commander";
import { wholeFrom } from "./option-values.js";

/** The options as given. */
export interface JudgeOptions {
  judge?: string;
  candidates: number;
  firstBranch: number;
  lastBranch?: number;
  innerSteps: number;
}

/** Adds them. */
export const judgeOptions = (command: Command): Command =>
  command
    .option(
      "--judge <judge>",
      "lets the best of several candidates go on: a preference model's folder, a file of yours, or a reward as pickscore:FOLDER",
    )
    .option(
      "--candidates <number>",
      "with --judge: drawn at a step, of which one goes on",
      wholeFrom(2, 1000),
      4,
    )
    .option("--first-branch <step>", "with --judge: the first step with candidates", wholeFrom(0, 999), 4)
    .option("--last-branch <step>", "with --judge: the last; default: the last of all", wholeFrom(0, 999))
    .option(
      "--inner-steps <number>",
      "with --judge: steps that each candidate goes alone",
      wholeFrom(0, 999),
      0,
    );

/** Throws a UserError (`USAGE`) for candidates of no step, and for a sampler that a judge cannot work in. */
export function checkJudgeOptions(
  { judge, firstBranch, lastBranch }: JudgeOptions,
  { steps, sampler }: { steps: number; sampler?: string },
): void {
  if (judge === undefined) return;
  const bad = (what: string, hint: string): UserError => new UserError(what, { code: "USAGE", hint });
  if (sampler !== undefined && sampler !== "ddim")
    throw bad(
      `A judge chooses among steps with noise, and ${sampler} is another sampler.`,
      "Leave --sampler out: with --judge it is ddim, which takes --eta.",
    );
  if (firstBranch >= steps || (lastBranch !== undefined && (lastBranch < firstBranch || lastBranch >= steps)))
    throw bad(
      `Candidates from step ${firstBranch} to ${lastBranch ?? steps - 1}: with ${steps} steps there is none.`,
      `Give --first-branch below ${steps}, and --last-branch from there to ${steps - 1}.`,
    );
}
