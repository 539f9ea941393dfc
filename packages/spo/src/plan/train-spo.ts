import { addLora, NoiseSchedule, type SchedulerConfig, UNet2DConditionModel } from "@spo/diffusion";
import { copyWeights, Generator, noGrad, scope } from "@spo/torch";
import { spoBatchLoss } from "../losses/spo-loss.js";
import { Precision } from "../recipes/precision.js";
import type { TrainSpoConfig } from "../recipes/train-spo-config.js";
import { guidedDenoiser } from "../resampler/denoiser.js";
import type { StepPairs } from "../resampler/pairs.js";
import { blankConditions, blankLatents, encodeBlank } from "./conditions.js";
import type { Job, Phase } from "./job.js";
import { blank, bytesOf, modulesOf, type PlannedModels } from "./models.js";

/** Candidates that the resampler decodes and judges at a time. */
const JUDGE_CHUNK = 8;

/**
 * SPO as `spo train spo` does it: rounds of sampling pools and updates on their pairs. Counts as if every comparison gave a pair, which is
 * the most that a run can cost; at the published thresholds about half of them do.
 */
export function spoJob(models: PlannedModels, config: TrainSpoConfig, scheduler: SchedulerConfig): Job {
  const { spm, unet, vae } = models;
  if (!spm) throw new Error("spoJob: the preference model is missing");
  const weights = bytesOf(modulesOf(models).flatMap((module) => module.parameters()));
  const precision = new Precision(config, models);
  const { reference, trained, off, merged } = policyOf(models, config, precision);
  const frozen = reference === unet ? 0 : bytesOf(reference.parameters());
  const schedule = new NoiseSchedule(scheduler);
  const { candidates: k, promptsPerRound: prompts, steps, firstBranch, innerSteps, rounds } = config;
  const guided = config.guidanceScale === 1 ? 1 : 2;

  const denoiserOf = (rows: number, model: UNet2DConditionModel, without: typeof off = (call) => call()) =>
    guidedDenoiser({
      unet: model,
      conditional: blankConditions(rows, models),
      unconditional: blankConditions(1, models),
      guidanceScale: config.guidanceScale,
      around: (call) => without(() => precision.around(call)),
    });
  const predict = (rows: number) => (): void =>
    noGrad(() =>
      scope(() => {
        const xt = blankLatents(rows, models);
        denoiserOf(prompts, unet).forRows(Array.from({ length: rows }, (_, i) => i % prompts))(xt, 500);
      }),
    );

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
        policy: denoiserOf(size, unet),
        reference: denoiserOf(size, reference, off),
        pairs: blankPairs(size, apartInBatch, models),
        schedule,
        ...config,
      });
      precision.scale(loss).backward();
      for (const parameter of trained) parameter.grad = undefined;
    });

  const sampling = (rows: number, runs: number, name: string): Phase => ({
    name,
    runs: runs * rounds,
    passes: { unetSampling: guided * rows },
    holds: merged,
    body: predict(rows),
  });
  return {
    models,
    memory: {
      weights: weights + frozen,
      trained: config.adapter === "lora" ? bytesOf(trained) : 0,
      optimizer: 2 * bytesOf(trained),
      data: 0,
    },
    phases: [
      { name: "text", runs: 1, passes: { judgeText: prompts }, body: () => encodeBlank(prompts, models) },
      sampling(prompts, single, "sampling, one latent a prompt"),
      sampling(k * prompts, pooled, "sampling, all candidates"),
      {
        name: "decode",
        runs: (rounds * judged) / chunk,
        passes: { vaeDecode: chunk },
        holds: merged,
        body: () => noGrad(() => scope(() => void vae.decodeLatents(blankLatents(chunk, models)))),
      },
      {
        name: "judge",
        runs: (rounds * judged) / chunk,
        passes: { judgeImage: chunk },
        holds: merged,
        body: () =>
          noGrad(() =>
            scope(() => void spm.imageFeatures(blank([chunk, 3, imageSize, imageSize], models), 500)),
          ),
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
    ],
  };
}

/** What learns, and what it must not leave. merged: bytes of the weights that are set aside while a LoRA is added into them. */
function policyOf(models: PlannedModels, config: TrainSpoConfig, precision: Precision) {
  const { unet } = models;
  if (config.adapter === "lora") {
    const lora = addLora(unet, { rank: config.rank }, new Generator(config.seed));
    const weights = [...lora.layers.values()].map(({ weight }) => weight);
    const off = <T>(call: () => T): T => lora.without(call);
    return {
      reference: unet,
      trained: lora.parameters(),
      off,
      merged: precision.merges ? bytesOf(weights) : 0,
    };
  }
  const reference = new UNet2DConditionModel(unet.config);
  if (models.device !== "meta") copyWeights(unet, reference);
  precision.freeze(reference);
  unet.requiresGrad_();
  return { reference, trained: unet.parameters(), off: undefined, merged: 0 };
}

/** Pairs of which `apart` have sides with different x_t. */
function blankPairs(size: number, apart: number, models: PlannedModels): StepPairs {
  const latents = () => blankLatents(size, models);
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
