import { guidedDenoiser } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { clipProcessor } from "@spo/scorers";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { pairLoss } from "../recipes/train-spm/pair-loss.js";
import type { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { makeOptimizer } from "../recipes/training/optimizer.js";
import { setUpVae } from "../recipes/training/precision.js";
import { latentSizeOf } from "../recipes/training/training-side.js";
import { LatentPreferenceModel } from "../spm/latent-preference-model.js";
import type { LatentRewardModel } from "../spm/latent-reward-model.js";
import { latentSpaceOf } from "../spm/latent-space.js";
import { PixelPreferenceModel } from "../spm/pixel-preference-model.js";
import { noisyPredictions } from "../spm/spm-noising.js";
import { blankConditions, blankIds, blankImages, blankLatents, lrmIds } from "./conditions.js";
import type { Job } from "./job.js";
import { blank, type PlannedModels } from "./models.js";
import { freedTexts, textPhase } from "./texts.js";
import { taughtJob } from "./train-spm-by-teacher.js";
import { momentsOf, optimizerPhase, update, weightsOf } from "./update.js";

/** The preference model's training as `spo train spm` does it, without its measurements on held-out pairs. */
export function spmJob(models: PlannedModels, config: TrainSpmConfig): Job {
  const { spm, lrm, scorer, denoiser, vae, pipe } = models;
  if (lrm) return spm ? taughtJob(models, { teacher: spm, lrm }, config) : lrmJob(models, lrm, config);
  if (!spm) throw new Error("spmJob: the preference model is missing");
  const { batch, steps, bank, cleanShare, guidanceScale, readAhead } = config;
  const microBatch = Math.min(batch, config.microBatch ?? batch);
  const parts = Math.ceil(batch / microBatch);
  /** The bank is noised a batch at a time, whatever the backward pass takes. */
  const noised = bank > 0 ? batch : microBatch;
  /** Whether a part of a batch is noised while the gradients of those before it wait. */
  const keepsGradients = bank === 0 && microBatch < batch;
  setUpVae(vae, config);
  spm.requiresGrad_();
  spm.vision_model.gradientCheckpointing = config.gradientCheckpointing;
  const trained = spm.parameters();
  const optimizer = makeOptimizer(trained, config.optimizer, config.seed);
  const latentSize = latentSizeOf(pipe, config.resolution);
  const [height, width] = latentSize.map((n) => n * vae.factor) as [number, number];
  const imageSize = spm.config.vision_config.image_size;
  const rows = Array.from({ length: noised }, (_, i) => i);

  const noising = (meter: WorkMeter): void =>
    noGrad(() =>
      scope(() => {
        const guided = guidedDenoiser({
          model: denoiser,
          conditional: blankConditions(noised, models),
          unconditional: blankConditions(1, models),
          guidanceScale,
        });
        const image = (): Tensor => blankImages(noised, models, latentSize);
        const noise = (): Tensor => blankLatents(noised, models, latentSize);
        const { x0 } = noisyPredictions(
          { vae, denoiser: guided, process: pipe.process },
          {
            ...{ image0: image(), image1: image(), noise: noise(), rows, timesteps: rows.map(() => 500) },
            ...{ posteriorNoise0: noise(), posteriorNoise1: noise() },
          },
          meter,
        );
        meter.count("vaeDecode", 2 * noised);
        vae.decodeLatents(x0);
      }),
    );
  const relabel = (meter: WorkMeter): void =>
    noGrad(() =>
      scope(() => {
        meter.count("judgeImage", noised);
        meter.count("judgeText", noised);
        scorer?.imageFeatures(blank([noised, 3, imageSize, imageSize], models));
        scorer?.text_model.forward(blankIds(noised, models));
      }),
    );
  const model = new PixelPreferenceModel(spm, clipProcessor(imageSize), (texts) =>
    blankIds(texts.length, models),
  );
  const learn = (meter: WorkMeter): void =>
    update(trained, microBatch < batch, () => {
      meter.count("judgeImage", 2 * microBatch);
      meter.count("judgeText", microBatch);
      const input = (): Tensor => blank([microBatch, 3, imageSize, imageSize], models);
      const column = (): Tensor => blank([microBatch], models);
      const pairs = Array.from({ length: microBatch }, (_, i) => i);
      const { loss } = pairLoss(model, {
        inputs: [input(), input()],
        timesteps: blank([microBatch], models, "int64"),
        prompts: pairs.map(String),
        rows: pairs,
        ...{ label0: column(), label1: column(), examples: column() },
      });
      loss.backward();
    });

  const drawn = bank > 0 ? Math.ceil(bank / batch) : steps * parts;
  const noisings = drawn * (1 - cleanShare); // nothing is computed for a clean pair
  const pixels = 2 * 3 * height * width;
  const freed = freedTexts(models, config);
  return {
    models,
    memory: {
      weights: weightsOf(models) - freed,
      trained: 0,
      optimizer: momentsOf(optimizer),
      // A bank of decoded pairs; or the stored pairs that are mixed, and what is read ahead.
      data:
        bank > 0 ? Math.max(bank, batch) * pixels : (48 << 20) + readAhead * 2 ** 20 + microBatch * pixels,
    },
    phases: [
      textPhase(models, config, { n: noised, runs: noisings }),
      ...(scorer ? [{ name: "relabelling, one side", runs: 2 * drawn, body: relabel }] : []),
      {
        name: "noising",
        runs: noisings,
        body: (meter) => update(trained, keepsGradients, () => noising(meter)),
      },
      { name: "update", runs: steps * parts, body: learn },
      optimizerPhase(trained, optimizer, steps),
    ],
  };
}

/** The same of a latent reward model: images are encoded and noised, and nothing is predicted. */
function lrmJob(models: PlannedModels, lrm: LatentRewardModel, config: TrainSpmConfig): Job {
  const { vae, pipe } = models;
  const { batch, steps, bank, readAhead } = config;
  setUpVae(vae, config);
  const microBatch = Math.min(batch, config.microBatch ?? batch);
  const noised = bank > 0 ? batch : microBatch;
  const keepsGradients = bank === 0 && microBatch < batch;
  const model = new LatentPreferenceModel(lrm, (texts) => lrmIds(texts.length, models), latentSpaceOf(pipe));
  const trained = model.parameters();
  for (const parameter of trained) parameter.requiresGrad = true;
  model.gradientCheckpointing = config.gradientCheckpointing;
  const optimizer = makeOptimizer(trained, config.optimizer, config.seed);
  const latentSize = latentSizeOf(pipe, config.resolution);
  const latents = (n: number): Tensor => blankLatents(n, models, latentSize);
  const noising = (meter: WorkMeter): void =>
    noGrad(() =>
      scope(() => {
        meter.count("vaeEncode", 2 * noised);
        const clean = vae.toLatents(blankImages(2 * noised, models, latentSize), latents(2 * noised));
        pipe.process.addNoise(clean, latents(2 * noised), 500);
      }),
    );
  const learn = (meter: WorkMeter): void =>
    update(trained, microBatch < batch, () => {
      meter.count("judgeImage", 2 * microBatch);
      meter.count("judgeText", microBatch);
      const column = (): Tensor => blank([microBatch], models);
      const pairs = Array.from({ length: microBatch }, (_, i) => i);
      const { loss } = pairLoss(model, {
        inputs: [latents(microBatch), latents(microBatch)],
        timesteps: blank([microBatch], models, "int64"),
        prompts: pairs.map(String),
        rows: pairs,
        ...{ label0: column(), label1: column(), examples: column() },
      });
      loss.backward();
    });
  const parts = steps * Math.ceil(batch / microBatch);
  const drawn = bank > 0 ? Math.ceil(bank / batch) : parts;
  const pixels = 2 * 3 * latentSize.reduce((a, b) => a * b * vae.factor, 1);
  const held = 2 * 4 * models.denoiser.latentShape(latentSize).reduce((a, b) => a * b, 1);
  return {
    models,
    memory: {
      weights: weightsOf(models),
      trained: 0,
      optimizer: momentsOf(optimizer),
      data: bank > 0 ? Math.max(bank, batch) * held : (48 << 20) + readAhead * 2 ** 20 + microBatch * pixels,
    },
    phases: [
      {
        name: "noising",
        runs: drawn,
        body: (meter) => update(trained, keepsGradients, () => noising(meter)),
      },
      { name: "update", runs: parts, body: learn },
      optimizerPhase(trained, optimizer, steps),
    ],
  };
}
