import { addFamilyLora, type DenoiserModel, guidedDenoiser } from "@spo/diffusion";
import { Adafactor, AdamW, copyWeights, Generator, noGrad, scope, type Tensor } from "@spo/torch";
import { dpoLoss } from "../objectives/dpo-loss.js";
import type { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import { Precision } from "../recipes/training/precision.js";
import { blankConditions, blankLatents, encodeBlank } from "./conditions.js";
import type { Job } from "./job.js";
import { blank, bytesOf, latentSizeAt, modulesOf, type PlannedModels } from "./models.js";
import { dropGradients, earlierGradients, optimizerPhase } from "./update.js";

/** Bytes of stored images that the reader mixes, beside the decoded ones that wait. */
const STORED = 48 << 20;

/** Diffusion-DPO, or plain prediction on the winners, as `spo train dpo` does it, without its measurements on held-out pairs. */
export function dpoJob(models: PlannedModels, config: TrainDpoConfig): Job {
  const { denoiser, vae } = models;
  const weights = bytesOf(modulesOf(models).flatMap((module) => module.parameters()));
  const precision = new Precision(config, models);
  const { reference, trained, off } = policyOf(models, config, precision);
  const frozen = reference === denoiser ? 0 : bytesOf(reference.parameters());
  const { kind, ...options } = config.optimizer;
  const optimizer = kind === "adafactor" ? new Adafactor(trained, options) : new AdamW(trained, options);
  const paired = config.objective === "dpo";
  const pairs = Math.min(config.microBatch, config.batch);
  const samples = paired ? 2 * pairs : pairs;
  const parts = config.steps * Math.ceil(config.batch / pairs);
  const size = latentSizeAt(models, config.resolution);
  const [height, width] = size.map((n) => n * vae.factor) as [number, number];

  const predict = (model: DenoiserModel, around: typeof off): Tensor => {
    const conditions = blankConditions(pairs, models);
    const guided = guidedDenoiser({
      model,
      conditional: conditions,
      unconditional: conditions,
      guidanceScale: 1,
      around: (call) => around(() => precision.around(call)),
    });
    const rows = Array.from({ length: samples }, (_, i) => i % pairs);
    return guided.forRows(rows)(blankLatents(samples, models, size), blank([samples], models));
  };
  const encode = (): void =>
    noGrad(() =>
      scope(() => {
        vae.toLatents(blank([2 * pairs, 3, height, width], models), blankLatents(2 * pairs, models, size));
      }),
    );
  const update = (): void =>
    scope(() => {
      const target = blankLatents(samples, models, size);
      const model = predict(denoiser, (call) => call());
      const loss = paired
        ? dpoLoss({ model, reference: noGrad(() => predict(reference, off)), target, beta: config.beta }).loss
        : model.sub(target).square().mean();
      if (pairs < config.batch) earlierGradients(trained);
      precision.scale(loss).backward();
      dropGradients(trained);
    });

  return {
    models,
    memory: {
      weights: weights + frozen,
      trained: config.adapter === "lora" ? bytesOf(trained) : 0,
      // Adafactor keeps a number for each row and each column: next to nothing.
      optimizer: ((kind === "adamw" ? 2 : 0) + (config.ema > 0 ? 1 : 0)) * bytesOf(trained),
      data: config.readAhead * 2 ** 20 + STORED,
    },
    phases: [
      { name: "text", runs: parts, passes: {}, body: () => encodeBlank(pairs, models) },
      { name: "encode", runs: parts, passes: { vaeEncode: 2 * pairs }, body: encode },
      {
        name: "update",
        runs: parts,
        passes: {
          unetPolicy: samples,
          ...(paired ? { unetReference: samples } : {}),
          unetBackward: samples,
        },
        body: update,
      },
      optimizerPhase(trained, optimizer, config.steps),
    ],
  };
}

/** What learns, and what it is measured against: the same UNet without its LoRA, or a copy. */
function policyOf(models: PlannedModels, config: TrainDpoConfig, precision: Precision) {
  const { denoiser } = models;
  const as = (call: () => Tensor): Tensor => call();
  if (config.adapter === "lora") {
    const lora = addFamilyLora(denoiser, { rank: config.rank }, new Generator(config.seed));
    return {
      reference: denoiser,
      trained: lora.parameters(),
      off: (call: () => Tensor): Tensor => lora.without(call),
    };
  }
  const reference = denoiser.blank();
  if (models.device !== "meta") copyWeights(denoiser, reference);
  precision.freeze(reference);
  denoiser.requiresGrad_();
  return { reference, trained: denoiser.parameters(), off: as };
}
