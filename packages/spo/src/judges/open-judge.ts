import { existsSync } from "node:fs";
import type { TextToImage } from "@spo/diffusion";
import { isModulePath } from "@spo/records/config";
import { parseRewardSpec, REWARDS, type RewardSpec, splitWeightedSpecs } from "@spo/scorers";
import { generatorAt, UserError } from "@spo/torch";
import { type EncodePrompts, openPreferenceModel } from "../spm/open-preference-model.js";
import { toDtype } from "../spm/preference-model.js";
import type { JudgeContext, StepAwareJudge } from "./judge.js";
import { JudgeEnsemble, type WeightedJudge } from "./judge-ensemble.js";
import { ownJudge } from "./own-judge.js";
import { RandomJudge } from "./random-judge.js";
import { openRewardJudge } from "./reward-judge.js";
import { SpmJudge } from "./spm-judge.js";

/** Which judge a training asks for. */
export interface JudgeChoice {
  /** `spm`, `random`, the path of a module, or a reward's spec; several with weights, `0.7*spm,0.3*./calm.ts`. */
  judge: string;
  /** The folder of the step-aware preference model. */
  spm: string | null;
  /** What that computes in. Default float32. */
  spmDtype?: "float32" | "bfloat16" | "float16";
  /** Where prompts are encoded, for a judge that reads them as the model does. Default: by the model's text encoders. */
  encode?: EncodePrompts;
  seed: number;
}

/**
 * The judge that a config names, or the given one, fit for the model.
 *
 * Throws a UserError (`CONFIG` or `DATA`) when there is none, or when it is made for another kind of model.
 */
export async function openJudge(
  config: JudgeChoice,
  pipe: TextToImage,
  latentSize: readonly [number, number],
  given?: StepAwareJudge,
): Promise<StepAwareJudge> {
  const context: JudgeContext = {
    pipeline: pipe,
    family: pipe.family.name,
    latentShape: pipe.denoiser.latentShape(latentSize),
    imageSize: [latentSize[0] * pipe.vae.factor, latentSize[1] * pipe.vae.factor],
    seed: config.seed,
    device: pipe.denoiser.device,
  };
  if (given) {
    refuseOther(given, context);
    return given;
  }
  const judges: WeightedJudge[] = [];
  for (const { spec, weight } of judgesIn(config.judge)) {
    const judge = await namedJudge({ ...config, judge: spec }, context);
    refuseOther(judge, context);
    judges.push({ judge, weight });
  }
  const [only, ...others] = judges;
  return only && others.length === 0 && only.weight === 1 ? only.judge : new JudgeEnsemble(judges);
}

/** The judges that a setting names, with their weights. A comma in the name of a file that is there is no list. */
const judgesIn = (judge: string): { spec: string; weight: number }[] =>
  existsSync(judge) ? [{ spec: judge, weight: 1 }] : splitWeightedSpecs(judge);

/** Judges with a name. Any other is a module's path or a reward's spec. */
const NAMED: Readonly<Record<string, (choice: JudgeChoice, context: JudgeContext) => StepAwareJudge>> = {
  spm: spmJudge,
  random: ({ seed }) => new RandomJudge((round) => generatorAt(seed, "random judge", round)),
};

function namedJudge(choice: JudgeChoice, context: JudgeContext): StepAwareJudge | Promise<StepAwareJudge> {
  const { judge } = choice;
  if (Object.hasOwn(NAMED, judge)) return (NAMED[judge] as (typeof NAMED)[string])(choice, context);
  if (isModulePath(judge)) return ownJudge(judge, context);
  return openRewardJudge(rewardSpecOf(judge), context.pipeline.tokenizer, context);
}

function spmJudge(
  { spm, spmDtype = "float32", encode }: JudgeChoice,
  { pipeline }: JudgeContext,
): StepAwareJudge {
  if (spm === null) {
    throw new UserError("spm is missing: the folder of the step-aware preference model.", {
      code: "CONFIG",
      hint: "Train one by `npx spo train spm`, or name another judge: --judge ./my-judge.ts.",
    });
  }
  const model = openPreferenceModel(spm, pipeline, encode);
  if (model.dtype !== spmDtype) toDtype(model.module, spmDtype);
  return new SpmJudge(model);
}

/** Throws a UserError (`CONFIG`) for a text that names no judge. */
function rewardSpecOf(judge: string): RewardSpec {
  try {
    return parseRewardSpec(judge);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`There is no judge ${JSON.stringify(judge)}.`, {
      code: "CONFIG",
      hint: `A judge is spm, random, a file as ./my-judge.ts, or a reward with its place as pickscore:./PickScore_v1 (${REWARDS.join(", ")}); several stand with commas between, as 0.7*spm,0.3*./calm.ts.`,
      cause: error,
    });
  }
}

function refuseOther({ requires }: StepAwareJudge, { family, latentShape }: JudgeContext): void {
  const faults = [
    requires?.family && requires.family !== family && `of ${requires.family}; this model is ${family}`,
    requires?.latentShape &&
      String(requires.latentShape) !== String(latentShape) &&
      `of latents [${requires.latentShape}]; this model's are [${latentShape}]`,
  ].filter((fault) => typeof fault === "string");
  if (faults.length > 0) {
    throw new UserError(`The judge is one ${faults.join(", and ")}.`, {
      code: "DATA",
      hint: "Give a judge that was made for this model.",
    });
  }
}
