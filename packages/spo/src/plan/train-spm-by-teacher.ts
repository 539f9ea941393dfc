import { guidedDenoiser, isGuided } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { JUDGE_CHUNK } from "../judges/judge.js";
import { imagesOf, PROMPTS, WINDOW } from "../recipes/train-spm/distillation-batch.js";
import { PUBLISHED_LEVELS } from "../recipes/train-spm/latent-pair-noiser.js";
import { pairLoss } from "../recipes/train-spm/pair-loss.js";
import type { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { vectorLoss } from "../recipes/train-spm/vector-loss.js";
import { makeOptimizer } from "../recipes/training/optimizer.js";
import { setUpVae } from "../recipes/training/precision.js";
import { latentSizeOf } from "../recipes/training/training-side.js";
import { LatentPreferenceModel } from "../spm/latent-preference-model.js";
import type { LatentRewardModel } from "../spm/latent-reward-model.js";
import { latentSpaceOf } from "../spm/latent-space.js";
import type { StepAwarePreferenceModel } from "../spm/spm.js";
import { blankConditions, blankImages, blankLatents, encodeBlank, lrmIds } from "./conditions.js";
import type { Job, Phase } from "./job.js";
import { blank, type PlannedModels } from "./models.js";
import { momentsOf, optimizerPhase, update, weightsOf } from "./update.js";

/**
 * A latent reward model that learns from a teacher which looks at images, as `spo train spm --teacher` does it, without its measurements:
 * rollouts of the base, shown to the teacher, and images of pairs where there are. Of those the most are counted that `bank` may keep.
 */
export function taughtJob(
  models: PlannedModels,
  { teacher, lrm }: { teacher: StepAwarePreferenceModel; lrm: LatentRewardModel },
  config: TrainSpmConfig,
): Job {
  const { vae, pipe, denoiser } = models;
  const { batch, steps, bank, candidates, guidanceScale, maxTimestep } = config;
  setUpVae(vae, config);
  const model = new LatentPreferenceModel(lrm, (texts) => lrmIds(texts.length, models), latentSpaceOf(pipe));
  const trained = model.parameters();
  for (const parameter of trained) parameter.requiresGrad = true;
  model.gradientCheckpointing = config.gradientCheckpointing;
  const optimizer = makeOptimizer(trained, config.optimizer, config.seed);
  const latentSize = latentSizeOf(pipe, config.resolution);
  const microBatch = Math.min(batch, config.microBatch ?? batch);
  const width = teacher.config.projection_dim;
  const learnsVectors = config.distill !== "preferences" && model.width === width;

  // What one rollout takes and gives.
  const histories = 2 * PROMPTS;
  const children = candidates * histories;
  const timesteps = pipe.process.timesteps(config.noiseLevels ?? PUBLISHED_LEVELS);
  const reached = [...timesteps.slice(1), 0].filter((t) => t <= maxTimestep).length;
  const pairs = reached * (learnsVectors ? Math.floor(candidates / 2) * histories : 1.5 * histories);
  const images = imagesOf(config);
  const window = Math.max(1, Math.floor((WINDOW * pairs) / (batch - images)));
  const rollouts = bank > 0 ? Math.ceil(bank / pairs) : WINDOW * Math.ceil(steps / window);
  const chunk = Math.min(JUDGE_CHUNK, children);
  const chunks = (rollouts * timesteps.length * children) / chunk;

  const frozen = (fn: () => unknown): void => noGrad(() => scope(() => void fn()));
  const sampling = (rows: number, runs: number, name: string): Phase => ({
    name,
    runs,
    body: (meter) =>
      frozen(() => {
        meter.count("unetSampling", (isGuided(denoiser, guidanceScale) ? 2 : 1) * rows);
        const conditional = blankConditions(histories, models);
        const unconditional = blankConditions(1, models);
        const guided = guidedDenoiser({ model: denoiser, conditional, unconditional, guidanceScale });
        const places = Array.from({ length: rows }, (_, i) => i % histories);
        return guided.forRows(places)(blankLatents(rows, models, latentSize), 500);
      }),
  });
  const look = (n: number, meter: WorkMeter): Tensor => {
    meter.count("judgeImage", n);
    const side = teacher.config.vision_config.image_size;
    return teacher.imageFeatures(blank([n, 3, side, side], models), 500);
  };
  const shownImages: Phase = {
    name: "images of pairs",
    runs: bank > 0 ? bank / images : steps,
    body: (meter) =>
      frozen(() => {
        meter.count("vaeEncode", 2 * images);
        const noise = blankLatents(2 * images, models, latentSize);
        vae.toLatents(blankImages(2 * images, models, latentSize), noise);
        look(2 * images, meter);
      }),
  };
  const learn = (meter: WorkMeter): void =>
    update(trained, microBatch < batch, () => {
      meter.count("judgeImage", 2 * microBatch);
      meter.count("judgeBackward", 2 * microBatch);
      meter.count("judgeText", microBatch);
      const latents = (): Tensor => blankLatents(microBatch, models, latentSize);
      const vectors = (): Tensor => blank([microBatch, width], models);
      const column = (): Tensor => blank([microBatch], models);
      const rows = Array.from({ length: microBatch }, (_, i) => i);
      const input = {
        inputs: [latents(), latents()] as [Tensor, Tensor],
        timesteps: blank([microBatch], models, "int64"),
        prompts: rows.map(String),
        rows,
        ...{ label0: column(), label1: column(), examples: column() },
      };
      const wanted = {
        ...{ vectors: [vectors(), vectors()] as const, texts: vectors() },
        spread: rows.map(() => ({ vectors: 1, differences: 1 })),
      };
      const { loss } = learnsVectors ? vectorLoss(model, input, wanted) : pairLoss(model, input);
      loss.backward();
    });
  const held =
    2 * 4 * (denoiser.latentShape(latentSize).reduce((a, b) => a * b, 1) + (learnsVectors ? width : 0));
  const kept = bank > 0 ? Math.max(bank, pairs) : WINDOW * pairs;
  const pixels = 2 * 3 * latentSize.reduce((a, b) => a * b * vae.factor, 1);
  return {
    models,
    memory: {
      weights: weightsOf(models),
      trained: 0,
      optimizer: momentsOf(optimizer),
      // Samples of the base, and images: kept as latents, or stored ones that are mixed and what is read ahead.
      data:
        kept * held +
        (images === 0
          ? 0
          : bank > 0
            ? bank * held
            : (48 << 20) + config.readAhead * 2 ** 20 + images * pixels),
    },
    phases: [
      { name: "text", runs: rollouts, body: () => encodeBlank(histories, models) },
      sampling(histories, rollouts, "sampling, one latent a history"),
      sampling(children, rollouts * (timesteps.length - 1), "sampling, all candidates"),
      {
        name: "decode",
        runs: chunks,
        body: (meter) => {
          meter.count("vaeDecode", chunk);
          frozen(() => vae.decodeLatents(blankLatents(chunk, models, latentSize)));
        },
      },
      { name: "judge", runs: chunks, body: (meter) => frozen(() => look(chunk, meter)) },
      ...(images > 0 ? [shownImages] : []),
      { name: "update", runs: steps * Math.ceil(batch / microBatch), body: learn },
      optimizerPhase(trained, optimizer, steps),
    ],
  };
}
