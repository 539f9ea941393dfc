// Settings of the recipe that post-trains with SPO. No tensor code: help and checks need no engine.

import { configsText, modelText, pathText, scorerText } from "@spo/records/config";
import { splitWeightedSpecs } from "@spo/scorers/reward-spec";
import { UserError } from "@spo/torch/files";
import { z } from "zod";
import {
  MOST_CANDIDATES,
  MOST_CHANNELS,
  MOST_FACTOR,
  MOST_GUIDANCE,
  MOST_PIXELS,
  MOST_PROMPTS,
  MOST_SAMPLES,
  MOST_SAMPLING_STEPS,
  MOST_SEED,
  MOST_STEPS,
} from "../bounds.js";
import { guardSettings } from "../training/guard-config.js";
import { adapterSettings, emaSettings } from "../training/policy-config.js";
import { precisionSettings, spmDtypeSettings } from "../training/precision-config.js";
import { processesSettings } from "../training/processes-config.js";
import { promptCacheSettings } from "../training/prompt-cache-config.js";
import { startSettings } from "../training/start-config.js";
import { humanSettings } from "./human-config.js";

/** Decay of one of AdamW's moments in each step. */
const decay = z.number().min(0).max(0.999_999_999);

/** Settings of `spo train spo`. */
export const TrainSpoConfig = z.strictObject({
  model: modelText().describe(
    "folder in diffusers layout, one file (.safetensors, .ckpt), or org/name of a hub",
  ),
  configs: configsText()
    .nullable()
    .default(null)
    .describe("for one file of other than the published sizes: a folder with its configs and tokenizers"),
  spm: modelText()
    .nullable()
    .default(null)
    .describe(
      "folder of the step-aware preference model, for the judge spm: of the kind that looks at images, or a latent reward model",
    ),
  prompts: pathText().describe("text file, one prompt a line, or a JSON list"),
  ...promptCacheSettings,
  output: pathText().describe("folder for the result: a LoRA, or the whole model after full fine-tuning"),
  ...startSettings(", or a LoRA's file"),
  resolution: z
    .int()
    .positive()
    .max(MOST_PIXELS)
    .nullable()
    .default(null)
    .describe("side of the images in pixels; null: the model's own"),
  rounds: z.int().positive().max(MOST_STEPS).default(4000).describe("rollouts of promptsPerRound prompts"),
  promptsPerRound: z
    .int()
    .positive()
    .max(MOST_PROMPTS)
    .default(10)
    .describe("prompts of one rollout, whose pairs are learned from at once"),
  steps: z.int().positive().max(MOST_SAMPLING_STEPS).default(20).describe("sampling steps"),
  guidanceScale: z
    .number()
    .min(-MOST_GUIDANCE)
    .max(MOST_GUIDANCE)
    .default(5)
    .describe("classifier-free guidance, in sampling and in the loss"),
  eta: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe("noise of a step, η of DDIM or the level of a flow's; 0 would leave nothing to choose between"),
  etaBefore: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .default(null)
    .describe("the same for the steps before firstBranch: 0 takes them by the ODE; null: as eta"),
  stepNoise: z
    .enum(["ddim", "flow-sde", "constant-sde", "cps"])
    .nullable()
    .default(null)
    .describe("how steps draw: ddim of diffusion models, the others of flow models; null: ddim or flow-sde"),
  candidates: z.int().min(2).max(MOST_CANDIDATES).default(4).describe("x_{t-1} drawn from one x_t"),
  samplingBatch: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .nullable()
    .default(null)
    .describe(
      "latents that one pass of the model takes while sampling: fewer take less memory; null: all candidates of the round at once",
    ),
  noiseBlock: z
    .int()
    .positive()
    .max(MOST_PIXELS)
    .default(1)
    .describe(
      "candidates differ only in the mean noise of blocks of so many latent pixels a side; 1: in every pixel, as published",
    ),
  firstBranch: z.int().min(0).max(MOST_SAMPLING_STEPS).default(4).describe("first step that branches"),
  lastBranch: z
    .int()
    .min(0)
    .max(MOST_SAMPLING_STEPS)
    .nullable()
    .default(null)
    .describe("last step that branches: a round ends where its candidates are judged; null: the last step"),
  innerSteps: z
    .int()
    .min(0)
    .max(MOST_SAMPLING_STEPS)
    .default(0)
    .describe("steps that each candidate makes alone before it is judged"),
  threshold: z
    .number()
    .min(0)
    .max(1)
    .default(0.3)
    .describe("least preference gap of a pair; with thresholdMax that of the step that adds the least noise"),
  thresholdMax: z
    .number()
    .min(0)
    .max(1)
    .nullable()
    .default(null)
    .describe("least preference gap at the step that adds the most noise; null: threshold at every step"),
  thresholdBy: z
    .enum(["sigma", "variance", "linear"])
    .default("sigma")
    .describe("what the gap grows with from threshold to thresholdMax: σ of a step, σ², or the timestep"),
  judge: scorerText()
    .default("spm")
    .describe(
      "spm; human, people who are asked in Studio; a file of yours, ./my-judge.ts; a reward without time, pickscore:FOLDER; several with weights, 0.7*spm,0.3*./calm.ts; or random, a control: scores are drawn, everything else is equal",
    ),
  judgeAgreement: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      "of several judges, least share that must not find the loser of a pair better; 0: the sum of their scores alone decides",
    ),
  judgeTimestep: z
    .enum(["reached", "source"])
    .default("reached")
    .describe("timestep that the judge is told: where the candidates have come to, or where they were drawn"),
  marginSoftmax: z
    .enum(["pair", "all"])
    .default("pair")
    .describe("the softmax behind the preference gap: over best and worst, or over all candidates"),
  ...humanSettings,
  continueFrom: z
    .enum(["random", "best"])
    .default("random")
    .describe("candidate that the next step starts from"),
  adapter: z.enum(["lora", "full"]).default("lora").describe("what learns: a LoRA, or the whole UNet"),
  rank: z.int().positive().max(MOST_CHANNELS).default(4).describe("of the LoRA"),
  ...adapterSettings,
  loraLayout: z
    .enum(["kohya", "peft", "diffusers"])
    .default("kohya")
    .describe("names in the LoRA's file: kohya's are what ComfyUI, A1111 and diffusers read"),
  beta: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .default(10)
    .describe("how strongly the likelihood ratios of winner and loser are told apart"),
  ratio: z
    .enum(["raw", "normalised"])
    .default("raw")
    .describe(
      "log ratios as they are, or divided by how far a step's mean moves with the output: then all steps weigh alike, a flow's first too",
    ),
  clip: z.number().positive().max(1).default(0.1).describe("bound of the likelihood ratios around 1"),
  batch: z.int().positive().max(MOST_SAMPLES).default(10).describe("pairs of one update"),
  microBatch: z
    .int()
    .positive()
    .max(MOST_SAMPLES)
    .default(10)
    .describe("pairs of one backward pass; their gradients add up to the batch's"),
  maxGradNorm: z
    .number()
    .positive()
    .max(MOST_FACTOR)
    .nullable()
    .default(null)
    .describe("null: no clipping, as the published run in effect had it"),
  optimizer: z
    .strictObject({
      lr: z.number().positive().max(MOST_FACTOR).default(6e-5).describe("learning rate, the same to the end"),
      betas: z.tuple([decay, decay]).default([0.9, 0.999]).describe("decay of AdamW's two moments"),
      weightDecay: z
        .number()
        .min(0)
        .max(MOST_FACTOR)
        .default(1e-4)
        .describe("AdamW's, of the weights themselves"),
    })
    .prefault({}),
  warmupRounds: z
    .number()
    .min(0)
    .max(MOST_STEPS)
    .default(0)
    .describe(
      "rounds in which the learning rate rises to its value: AdamW's first steps are its largest and its blindest",
    ),
  ...emaSettings,
  ...guardSettings,
  ...processesSettings,
  ...precisionSettings,
  ...spmDtypeSettings,
  offload: z
    .boolean()
    .default(false)
    .describe(
      "the VAE and the preference model wait on the CPU while updates run: less memory of a GPU, the same result, and the time to move them twice a round",
    ),
  saveEvery: z.int().positive().max(MOST_STEPS).default(50).describe("rounds between checkpoints"),
  stripEvery: z
    .int()
    .positive()
    .max(MOST_STEPS)
    .nullable()
    .default(null)
    .describe(
      "rounds between candidate strips that are kept as images; null: one an epoch of the prompts, none with a judge of latents",
    ),
  heldOut: pathText()
    .nullable()
    .default(null)
    .describe("text file of prompts that are not trained on, for the samples; null: the first of prompts"),
  samples: z
    .int()
    .min(0)
    .max(MOST_PROMPTS)
    .default(4)
    .describe("prompts that are sampled again and again from the same noise, and measured for drift"),
  sampleEvery: z
    .int()
    .positive()
    .max(MOST_STEPS)
    .nullable()
    .default(null)
    .describe("rounds between those samples; null: as the strips, or one an epoch"),
  seed: z.int().min(0).max(MOST_SEED).default(0).describe("of all that is drawn"),
});
export type TrainSpoConfig = z.output<typeof TrainSpoConfig>;

/**
 * Throws a UserError (`CONFIG`) where no step of a rollout would branch, thresholds would fall with the noise, or the latents are no whole
 * number of noise blocks.
 *
 * [height, width]: of the latents.
 */
export function requireRollout(
  { firstBranch, lastBranch, steps, noiseBlock, threshold, thresholdMax }: TrainSpoConfig,
  [height, width]: readonly [number, number],
): void {
  if (firstBranch >= steps)
    throw new UserError(
      `firstBranch is ${firstBranch}, and there are ${steps} steps: no step would branch.`,
      {
        code: "CONFIG",
        hint: "Give a firstBranch below steps.",
      },
    );
  if (thresholdMax !== null && thresholdMax < threshold)
    throw new UserError(`thresholdMax is ${thresholdMax}, below threshold, which is ${threshold}.`, {
      code: "CONFIG",
      hint: "Candidates of a step with more noise lie farther apart: give a thresholdMax of at least threshold.",
    });
  if (lastBranch !== null && (lastBranch < firstBranch || lastBranch >= steps))
    throw new UserError(
      `lastBranch is ${lastBranch}; it is from firstBranch, ${firstBranch}, to the last step, ${steps - 1}.`,
      { code: "CONFIG" },
    );
  if (height % noiseBlock !== 0 || width % noiseBlock !== 0)
    throw new UserError(
      `noiseBlock is ${noiseBlock}, and latents of ${height}×${width} are no whole number of such blocks.`,
      { code: "CONFIG", hint: "Give a noiseBlock that divides both sides; 1 always does." },
    );
}

/** Throws a UserError (`CONFIG`) where agreement is asked of one judge. */
export function requireAgreement({ judge, judgeAgreement }: TrainSpoConfig): void {
  if (judgeAgreement === 0 || splitWeightedSpecs(judge).length > 1) return;
  throw new UserError(`judgeAgreement is ${judgeAgreement}, and there is one judge, ${judge}.`, {
    code: "CONFIG",
    hint: "Name several, --judge 'spm,./calm.ts', or leave judgeAgreement out.",
  });
}
