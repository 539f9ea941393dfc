import { scaleOfPromptAlone } from "@spo/diffusion";
import { noGrad, scope } from "@spo/torch";
import { pairLoss } from "../recipes/train-dpo/pair-loss.js";
import type { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import { requireCacheable } from "../recipes/training/prompt-cache-config.js";
import { latentSizeOf } from "../recipes/training/training-side.js";
import { blankConditions, blankImages, blankLatents, encodeAnew } from "./conditions.js";
import type { Job } from "./job.js";
import { blank, type PlannedModels } from "./models.js";
import { freedTexts, textPhase } from "./texts.js";
import { optimizerPhase, planPolicy, update } from "./update.js";

/** Bytes of stored images that the reader mixes, beside the decoded ones that wait. */
const STORED = 48 << 20;

/** Diffusion-DPO, or plain prediction on the winners, as `spo train dpo` does it, without its measurements on held-out pairs. */
export function dpoJob(models: PlannedModels, config: TrainDpoConfig): Job {
  const size = latentSizeOf(models.pipe, config.resolution);
  const { policy, precision, optimizer, memory } = planPolicy(models, config, {
    optimizer: config.optimizer,
    data: config.readAhead * 2 ** 20 + STORED,
  });
  requireCacheable(config);
  const { trained } = policy;
  const freed = freedTexts(models, config);
  const pairs = Math.min(config.microBatch, config.batch);
  const scale = scaleOfPromptAlone(models.denoiser, config.guidanceScale);
  const runs = config.steps * Math.ceil(config.batch / pairs);
  const both = (): ReturnType<typeof blankLatents> => blankLatents(2 * pairs, models, size);
  return {
    models,
    memory: { ...memory, weights: memory.weights - freed },
    phases: [
      textPhase(models, config, { n: pairs, runs }),
      {
        name: "encode",
        runs,
        body: (meter) => {
          meter.count("vaeEncode", 2 * pairs);
          noGrad(() => scope(() => void models.vae.toLatents(blankImages(2 * pairs, models, size), both())));
        },
      },
      {
        name: "update",
        runs,
        body: (meter) =>
          update(trained, pairs < config.batch, () => {
            const conditions = blankConditions(pairs, models);
            const { objective, beta } = config;
            const { loss, samples } = pairLoss(
              {
                noisy: both(),
                target: both(),
                timesteps: blank([2 * pairs], models),
                prompts: [],
                conditions,
              },
              {
                ...policy.denoisers(
                  { conditional: conditions, unconditional: conditions },
                  scale,
                  encodeAnew(models, size),
                ),
                ...{ objective, beta, meter },
              },
            );
            meter.count("unetBackward", samples);
            precision.scale(loss).backward();
          }),
      },
      optimizerPhase(trained, optimizer, config.steps),
    ],
  };
}
