import { ddimStep, guidedDenoiser, isGuided } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { noGrad, scope } from "@spo/torch";
import { blankConditions, blankLatents } from "./conditions.js";
import type { Job } from "./job.js";
import type { PlannedModels } from "./models.js";
import { freedTexts, textPhase } from "./texts.js";
import { weightsOf } from "./update.js";

/** A sampling to be planned; sides in pixels. */
export interface SamplingSettings {
  images: number;
  /** Images at once. */
  batch: number;
  steps: number;
  /** 1 or less: no guidance. */
  guidanceScale: number;
  /** Height and width. */
  latentSize: readonly [number, number];
  /** As for `AutoencoderKL.decodeLatents`. */
  decode?: { chunk?: number; tiling?: boolean };
  /** Where prompts are encoded before all else, and the text encoders then freed; absent: they stay. */
  promptCache?: string;
  /** Default: the CPU. */
  device?: string;
}

/** Text to images, as `spo sample` does it. */
export function samplingJob(models: PlannedModels, settings: SamplingSettings): Job {
  const { images, batch, steps, guidanceScale, latentSize } = settings;
  const batches = Math.ceil(images / batch);
  const guided = isGuided(models.denoiser, guidanceScale) ? 2 : 1;
  const step = (meter: WorkMeter): void =>
    noGrad(() =>
      scope(() => {
        meter.count("unetSampling", guided * batch);
        const conditional = blankConditions(batch, models);
        const unconditional = blankConditions(batch, models);
        const denoiser = guidedDenoiser({
          model: models.denoiser,
          conditional,
          unconditional,
          guidanceScale,
        });
        const xt = blankLatents(batch, models, latentSize);
        const predict = denoiser.forRows(Array.from({ length: batch }, (_, i) => i));
        scope(() => void ddimStep(xt, predict(xt, 500), { alphaBar: 0.3, alphaBarPrev: 0.4, eta: 0 }));
      }),
    );
  const decode = (meter: WorkMeter): void => {
    meter.count("vaeDecode", batch);
    noGrad(() =>
      scope(() => void models.vae.decodeLatents(blankLatents(batch, models, latentSize), settings.decode)),
    );
  };
  const texts = { promptCache: settings.promptCache ?? null, device: settings.device ?? "cpu" };
  return {
    models,
    memory: {
      weights: weightsOf(models) - freedTexts(models, texts),
      trained: 0,
      optimizer: 0,
      data: 0,
    },
    phases: [
      textPhase(models, texts, { n: batch, runs: batches }),
      { name: "step", runs: batches * steps, body: step },
      { name: "decode", runs: batches, body: decode },
    ],
  };
}
