// A judge in a file of the user's.
import { existsSync } from "node:fs";
import { basename, extname } from "node:path";
import { importOwn } from "@spo/records/config";
import type { Reward } from "@spo/scorers";
import { UserError } from "@spo/torch";
import type { CandidateScorer, JudgeContext, StepAwareJudge } from "./judge.js";
import { rewardJudge } from "./reward-judge.js";

/** What a judge's file exports by default: a judge, or what makes one for a model. */
export type JudgeExport =
  | StepAwareJudge
  | ((context: JudgeContext) => StepAwareJudge | Promise<StepAwareJudge>);

/**
 * Loads the judge that a .ts, .mts, .js or .mjs file exports by default, or the scorer of finished images. The file's code is executed.
 *
 * Throws a UserError (`DATA`) when it is not there, does not run, or exports no judge; what the judge throws later is told with its file.
 */
export async function ownJudge(path: string, context: JudgeContext): Promise<StepAwareJudge> {
  const fault = (text: string, cause?: unknown): UserError =>
    new UserError(`The judge ${path} ${text}`, {
      code: "DATA",
      hint: "Export by default an object with prepare, or a function that makes one: docs/own-judge.md.",
      cause,
    });
  if (!existsSync(path)) throw fault("does not exist.");
  let found: unknown;
  try {
    found = await importOwn(path);
    if (typeof found === "function") found = await (found as (context: JudgeContext) => unknown)(context);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw fault(`cannot be loaded: ${messageOf(error)}`, error);
  }
  if (!has(found, "prepare") && has(found, "score"))
    return guarded(rewardJudge(named(found as Reward, path)), fault);
  if (!has(found, "prepare")) throw fault("exports no judge.");
  if (has(found, "score"))
    throw fault(
      "has score beside prepare, as judges had it before. Now prepare(prompts) gives an object with score(candidates, rows).",
    );
  return guarded(found as StepAwareJudge, fault);
}

/** A scorer of finished images that has no name of its own is called as its file. */
const named = (reward: Reward, path: string): Reward =>
  reward.name ? reward : Object.assign(reward, { name: basename(path, extname(path)) });

/** The methods of a value. */
const has = (value: unknown, ...methods: readonly string[]): boolean =>
  methods.every(
    (method) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === "function",
  );

/** The judge, whose errors become UserErrors: they are the user's to mend. */
function guarded(judge: StepAwareJudge, fault: (text: string, cause?: unknown) => UserError): StepAwareJudge {
  const guard = <T>(where: () => string, call: () => T): T => {
    try {
      return call();
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw fault(`failed ${where()}: ${messageOf(error)}`, error);
    }
  };
  return {
    requires: judge.requires,
    modules: judge.modules,
    beginRound: judge.beginRound && ((...of) => judge.beginRound?.(...of)),
    prepare: (prompts, meter) => {
      const scorer: CandidateScorer = guard(
        () => `while it prepared ${prompts.length} prompts`,
        () => judge.prepare(prompts, meter),
      );
      if (!has(scorer, "score")) throw fault("prepares no scorer: prepare gives an object with score.");
      return {
        sees: scorer.sees,
        score: (candidates, rows, counted) =>
          guard(
            () => `at timestep ${candidates.timestep} with latents [${candidates.xt.shape}]`,
            () => scorer.score(candidates, rows, counted),
          ),
        dispose: () => scorer.dispose?.(),
      };
    },
  };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
