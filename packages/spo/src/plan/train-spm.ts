import { cat, noGrad, scope } from "@spo/torch";
import { guidedDenoiser } from "../denoiser.js";
import type { TrainSpmConfig } from "../recipes/train-spm-config.js";
import { spmLoss } from "../spm-loss.js";
import { blankConditions, blankIds, blankLatents, encodeBlank } from "./conditions.js";
import type { Job } from "./job.js";
import { blank, bytesOf, modulesOf, type PlannedModels } from "./models.js";

/** The preference model's training as `spo train spm` does it. Without the data set, which stays in memory as bytes. */
export function spmJob(models: PlannedModels, config: TrainSpmConfig): Job {
  const { spm, unet, vae, latentSize } = models;
  if (!spm) throw new Error("spmJob: the preference model is missing");
  const { batch, steps, bank, guidanceScale } = config;
  const guided = guidanceScale === 1 ? 1 : 2;
  spm.requiresGrad_();
  const trained = spm.parameters();
  const [height, width] = latentSize.map((n) => n * vae.factor) as [number, number];
  const imageSize = spm.config.vision_config.image_size;
  const rows = Array.from({ length: batch }, (_, i) => i);

  const noising = (): void =>
    noGrad(() =>
      scope(() => {
        const denoiser = guidedDenoiser({
          unet,
          conditional: blankConditions(batch, models),
          unconditional: blankConditions(1, models),
          guidanceScale,
        });
        const latents = vae.toLatents(
          blank([2 * batch, 3, height, width], models),
          blankLatents(2 * batch, models),
        );
        const t = blank([2 * batch], models, "int64");
        const x0 = denoiser.forRows([...rows, ...rows])(latents, t);
        vae.decodeLatents(x0);
      }),
    );
  const update = (): void =>
    scope(() => {
      const features = spm.imageFeatures(blank([2 * batch, 3, imageSize, imageSize], models), 500);
      const text = spm.text_projection.forward(spm.text_model.forward(blankIds(batch, models)).pooled);
      const [score0, score1] = spm.scores(features, cat([text, text])).chunk(2);
      if (!score0 || !score1) throw new Error("spmJob: no scores");
      const column = () => blank([batch], models);
      const labels = { label0: column(), label1: column(), examples: column() };
      spmLoss({ score0, score1, ...labels }).loss.backward();
      for (const parameter of trained) parameter.grad = undefined;
    });

  const noisings = bank > 0 ? Math.ceil(bank / batch) : steps;
  const seen = Math.max(bank, batch) * 2 * 3 * height * width;
  return {
    models,
    memory: {
      weights: bytesOf(modulesOf(models).flatMap((module) => module.parameters())),
      trained: 0,
      optimizer: 2 * bytesOf(trained),
      data: seen,
    },
    phases: [
      { name: "text", runs: 1, passes: {}, body: () => encodeBlank(batch, models) },
      {
        name: "noising",
        runs: noisings,
        passes: { vaeEncode: 2 * batch, unetReference: 2 * guided * batch, vaeDecode: 2 * batch },
        body: noising,
      },
      { name: "update", runs: steps, passes: { judgeImage: 2 * batch, judgeText: batch }, body: update },
    ],
  };
}
