import { guidedDenoiser, isGuided } from "@spo/diffusion";
import { AdamW, cat, noGrad, scope } from "@spo/torch";
import { spmLoss } from "../objectives/spm-loss.js";
import type { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { blankConditions, blankIds, blankLatents, encodeBlank } from "./conditions.js";
import type { Job } from "./job.js";
import { blank, bytesOf, latentSizeAt, modulesOf, type PlannedModels } from "./models.js";
import { dropGradients, earlierGradients, optimizerPhase } from "./update.js";

/** The preference model's training as `spo train spm` does it, without its measurements on held-out pairs. */
export function spmJob(models: PlannedModels, config: TrainSpmConfig): Job {
  const { spm, scorer, denoiser: model, vae } = models;
  if (!spm) throw new Error("spmJob: the preference model is missing");
  const { batch, steps, bank, cleanShare, guidanceScale, readAhead } = config;
  const microBatch = Math.min(batch, config.microBatch ?? batch);
  const parts = Math.ceil(batch / microBatch);
  /** The bank is noised a batch at a time, whatever the backward pass takes. */
  const noised = bank > 0 ? batch : microBatch;
  const guided = isGuided(model, guidanceScale) ? 2 : 1;
  spm.requiresGrad_();
  spm.vision_model.gradientCheckpointing = config.gradientCheckpointing;
  const trained = spm.parameters();
  const optimizer = new AdamW(trained, config.optimizer);
  const latentSize = latentSizeAt(models, config.resolution);
  const [height, width] = latentSize.map((n) => n * vae.factor) as [number, number];
  const imageSize = spm.config.vision_config.image_size;
  const rows = Array.from({ length: noised }, (_, i) => i);

  const noising = (): void =>
    noGrad(() =>
      scope(() => {
        const denoiser = guidedDenoiser({
          model,
          conditional: blankConditions(noised, models),
          unconditional: blankConditions(1, models),
          guidanceScale,
        });
        const latents = vae.toLatents(
          blank([2 * noised, 3, height, width], models),
          blankLatents(2 * noised, models, latentSize),
        );
        const t = blank([2 * noised], models, "int64");
        const x0 = denoiser.forRows([...rows, ...rows])(latents, t);
        vae.decodeLatents(x0);
      }),
    );
  const relabel = (): void =>
    noGrad(() =>
      scope(() => {
        scorer?.imageFeatures(blank([noised, 3, imageSize, imageSize], models));
        scorer?.text_model.forward(blankIds(noised, models));
      }),
    );
  const update = (): void =>
    scope(() => {
      const features = spm.imageFeatures(blank([2 * microBatch, 3, imageSize, imageSize], models), 500);
      const text = spm.text_projection.forward(spm.text_model.forward(blankIds(microBatch, models)).pooled);
      const [score0, score1] = spm.scores(features, cat([text, text])).chunk(2);
      if (!score0 || !score1) throw new Error("spmJob: no scores");
      const column = () => blank([microBatch], models);
      const labels = { label0: column(), label1: column(), examples: column() };
      const { loss } = spmLoss({ score0, score1, ...labels });
      if (microBatch < batch) earlierGradients(trained);
      loss.backward();
      dropGradients(trained);
    });

  const drawn = bank > 0 ? Math.ceil(bank / batch) : steps * parts;
  const noisings = drawn * (1 - cleanShare); // nothing is computed for a clean pair
  const pixels = 2 * 3 * height * width;
  return {
    models,
    memory: {
      weights: bytesOf(modulesOf(models).flatMap((module) => module.parameters())),
      trained: 0,
      optimizer: 2 * bytesOf(trained),
      // A bank of decoded pairs; or the stored pairs that are mixed, and what is read ahead.
      data:
        bank > 0 ? Math.max(bank, batch) * pixels : (48 << 20) + readAhead * 2 ** 20 + microBatch * pixels,
    },
    phases: [
      { name: "text", runs: noisings, passes: {}, body: () => encodeBlank(noised, models) },
      ...(scorer
        ? [
            {
              name: "relabelling, one side",
              runs: 2 * drawn,
              passes: { judgeImage: noised, judgeText: noised },
              body: relabel,
            },
          ]
        : []),
      {
        name: "noising",
        runs: noisings,
        passes: { vaeEncode: 2 * noised, unetReference: 2 * guided * noised, vaeDecode: 2 * noised },
        body: noising,
      },
      {
        name: "update",
        runs: steps * parts,
        passes: { judgeImage: 2 * microBatch, judgeText: microBatch },
        body: update,
      },
      optimizerPhase(trained, optimizer, steps),
    ],
  };
}
