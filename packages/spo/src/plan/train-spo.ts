import {
  addFamilyLora,
  CheckpointSchedule,
  type DenoiserModel,
  guidedDenoiser,
  isGuided,
  type PipelineConfigs,
} from "@spo/diffusion";
import { AdamW, copyWeights, Generator, noGrad, scope } from "@spo/torch";
import { spoBatchLoss } from "../objectives/spo-loss.js";
import type { StepPairs } from "../objectives/step-pairs.js";
import { requireRollout, type TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { Precision } from "../recipes/training/precision.js";
import { JUDGE_CHUNK } from "../rollout/resampler.js";
import { blankConditions, blankLatents, encodeBlank } from "./conditions.js";
import type { Job, Phase } from "./job.js";
import { blank, bytesOf, latentSizeAt, modulesOf, type PlannedModels } from "./models.js";
import { dropGradients, earlierGradients, optimizerPhase } from "./update.js";

/**
 * SPO as `spo train spo` does it: rounds of sampling pools and updates on their pairs. Counts as if every comparison gave a pair, which is
 * the most that a run can cost; at the published thresholds about half of them do.
 */
export function spoJob(
  models: PlannedModels,
  config: TrainSpoConfig,
  { scheduler, pipeline = "" }: Pick<PipelineConfigs, "scheduler" | "pipeline">,
): Job {
  const { spm, denoiser, vae } = models;
  const latentSize = latentSizeAt(models, config.resolution);
  requireRollout(config, latentSize);
  if (!spm) throw new Error("spoJob: the preference model is missing");
  const weights = bytesOf(modulesOf(models).flatMap((module) => module.parameters()));
  const precision = new Precision(config, models);
  const { reference, trained, off, sampling } = policyOf(models, config, precision);
  const copy = reference === denoiser ? 0 : bytesOf(reference.parameters());
  const optimizer = new AdamW(trained, config.optimizer);
  const process = new CheckpointSchedule(scheduler, { pipeline }).for("ddim");
  const { candidates: k, promptsPerRound: prompts, steps, firstBranch, innerSteps, rounds } = config;
  const guided = isGuided(denoiser, config.guidanceScale) ? 2 : 1;

  const denoiserOf = (rows: number, model: DenoiserModel, without: typeof off = (call) => call()) =>
    guidedDenoiser({
      model,
      conditional: blankConditions(rows, models),
      unconditional: blankConditions(1, models),
      guidanceScale: config.guidanceScale,
      around: (call) => without(() => precision.around(call)),
    });
  const frozen = (fn: () => void): void => sampling(() => noGrad(() => scope(fn)));
  const predict = (rows: number) => (): void =>
    frozen(() => {
      const xt = blankLatents(rows, models, latentSize);
      denoiserOf(prompts, denoiser).forRows(Array.from({ length: rows }, (_, i) => i % prompts))(xt, 500);
    });

  // What one round does. Source: algorithm 4.
  const single = firstBranch + 1;
  const pooled = steps - single;
  const comparisons = Math.ceil((steps - firstBranch) / (innerSteps + 1));
  const judged = comparisons * k * prompts;
  const transitions = (steps - firstBranch) * prompts;
  const apart = (steps - firstBranch - comparisons) * prompts; // inner steps: the sides' x_t differ
  const chunk = Math.min(JUDGE_CHUNK, k * prompts);
  const size = Math.min(config.microBatch, transitions);
  const apartInBatch = Math.round((size * apart) / transitions);
  const predictions = size + apartInBatch;
  const imageSize = spm.config.vision_config.image_size;

  const update = (): void =>
    scope(() => {
      const { loss } = spoBatchLoss({
        policy: denoiserOf(size, denoiser),
        reference: denoiserOf(size, reference, off),
        pairs: blankPairs(size, apartInBatch, models, latentSize),
        process,
        ...config,
      });
      if (size < config.batch) earlierGradients(trained);
      precision.scale(loss).backward();
      dropGradients(trained);
    });

  const step = (rows: number, runs: number, name: string): Phase => ({
    name,
    runs: runs * rounds,
    passes: { unetSampling: guided * rows },
    body: predict(rows),
  });
  return {
    models,
    memory: {
      weights: weights + copy,
      trained: config.adapter === "lora" ? bytesOf(trained) : 0,
      optimizer: (config.ema > 0 ? 3 : 2) * bytesOf(trained),
      data: 0,
    },
    phases: [
      { name: "text", runs: 1, passes: { judgeText: prompts }, body: () => encodeBlank(prompts, models) },
      step(prompts, single, "sampling, one latent a prompt"),
      step(k * prompts, pooled, "sampling, all candidates"),
      {
        name: "decode",
        runs: (rounds * judged) / chunk,
        passes: { vaeDecode: chunk },
        body: () => frozen(() => void vae.decodeLatents(blankLatents(chunk, models, latentSize))),
      },
      {
        name: "judge",
        runs: (rounds * judged) / chunk,
        passes: { judgeImage: chunk },
        body: () =>
          frozen(() => {
            const [height, width] = latentSize.map((n) => n * vae.factor) as [number, number];
            blank([chunk, 3, height, width], models); // as decoded, which stay until they are judged
            spm.imageFeatures(blank([chunk, 3, imageSize, imageSize], models), 500);
          }),
      },
      {
        name: "update",
        runs: (rounds * transitions) / size,
        passes: {
          unetPolicy: guided * predictions,
          unetReference: guided * predictions,
          unetBackward: guided * predictions,
        },
        body: update,
      },
      optimizerPhase(trained, optimizer, (rounds * transitions) / config.batch),
    ],
  };
}

/** What learns, and what it must not leave. sampling: how it is sampled from, a LoRA added into the weights where that loses no bits. */
function policyOf(models: PlannedModels, config: TrainSpoConfig, precision: Precision) {
  const { denoiser } = models;
  if (config.adapter === "lora") {
    const lora = addFamilyLora(denoiser, { rank: config.rank }, new Generator(config.seed));
    const off = <T>(call: () => T): T => lora.without(call);
    return {
      reference: denoiser,
      trained: lora.parameters(),
      off,
      sampling: (fn: () => void): void => (precision.merges ? lora.merged(fn) : fn()),
    };
  }
  const reference = denoiser.blank();
  if (models.device !== "meta") copyWeights(denoiser, reference);
  precision.freeze(reference);
  denoiser.requiresGrad_();
  return {
    reference,
    trained: denoiser.parameters(),
    off: undefined,
    sampling: (fn: () => void): void => fn(),
  };
}

/** Pairs of which `apart` have sides with different x_t. */
function blankPairs(
  size: number,
  apart: number,
  models: PlannedModels,
  latentSize: readonly [number, number],
): StepPairs {
  const latents = () => blankLatents(size, models, latentSize);
  const [latentsWin, latentsLose, nextWin, nextLose] = [latents(), latents(), latents(), latents()];
  const each = <T>(value: T): T[] => Array.from({ length: size }, () => value);
  return {
    size,
    timesteps: each(501),
    prompts: Array.from({ length: size }, (_, i) => i),
    latentsWin,
    latentsLose,
    nextWin,
    nextLose,
    shared: Array.from({ length: size }, (_, i) => i >= apart),
    margins: each(1),
    comparisons: each(0),
  };
}
