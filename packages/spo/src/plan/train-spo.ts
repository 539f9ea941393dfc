import { inPasses, isGuided } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { noGrad, scope } from "@spo/torch";
import { JUDGE_CHUNK } from "../judges/judge.js";
import type { StepPairs } from "../objectives/step-pairs.js";
import { pairGradients } from "../recipes/train-spo/pair-gradients.js";
import { requireRollout, type TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { requireCacheable } from "../recipes/training/prompt-cache-config.js";
import { latentSizeOf } from "../recipes/training/training-side.js";
import { branchRange } from "../rollout/rollout.js";
import type { LatentTexts } from "../spm/latent-reward-model.js";
import { blankConditions, blankImages, blankLatents, encodeAnew, lrmIds } from "./conditions.js";
import type { Job, Phase } from "./job.js";
import { blank, bytesOf, type PlannedModels } from "./models.js";
import { freedTexts, textPhase } from "./texts.js";
import { optimizerPhase, planPolicy, update } from "./update.js";

/**
 * SPO as `spo train spo` does it: rounds of sampling pools and updates on their pairs. Counts as if every comparison gave a pair, which is
 * the most that a run can cost; at the published thresholds about half of them do.
 */
export function spoJob(models: PlannedModels, config: TrainSpoConfig): Job {
  const { spm, lrm, denoiser, vae, pipe } = models;
  if (!spm && !lrm) throw new Error("spoJob: the preference model is missing");
  const latentSize = latentSizeOf(pipe, config.resolution);
  requireCacheable(config);
  requireRollout(config, latentSize);
  const { policy, precision, optimizer, memory } = planPolicy(models, config, {
    optimizer: { kind: "adamw", ...config.optimizer },
    data: 0,
  });
  const { trained, withMergedAdapter } = policy;
  const { candidates: k, promptsPerRound: prompts, rounds } = config;
  const { steps, eta, beta, clip, ratio, guidanceScale } = config;
  const { first, end } = branchRange(config);
  const guided = isGuided(denoiser, guidanceScale) ? 2 : 1;
  const denoisersOf = (rows: number): ReturnType<typeof policy.denoisers> =>
    policy.denoisers(
      { conditional: blankConditions(rows, models), unconditional: blankConditions(1, models) },
      guidanceScale,
      encodeAnew(models, latentSize),
    );
  const frozen = (fn: () => unknown): void => withMergedAdapter(() => noGrad(() => scope(() => void fn())));

  // What one round does. Source: algorithm 4.
  const single = first + 1;
  const calls = Math.min(steps, end + 1); // one more where the last children are judged before the end
  const comparisons = Math.ceil((end - first) / (config.innerSteps + 1));
  const judged = comparisons * k * prompts;
  const transitions = (end - first) * prompts;
  const apart = (end - first - comparisons) * prompts; // inner steps: the sides' x_t differ
  const chunk = Math.min(JUDGE_CHUNK, k * prompts);
  const size = Math.min(config.microBatch, transitions);
  const apartInBatch = Math.round((size * apart) / transitions);
  // A judge of latents judges children as they are drawn: only one of them is predicted, unless they go on apart.
  const [alone, together] = lrm ? [first + comparisons, end - first - comparisons] : [single, calls - single];

  const step = (rows: number, runs: number, name: string): Phase => ({
    name,
    runs: runs * rounds,
    body: (meter) =>
      frozen(() => {
        meter.count("unetSampling", guided * rows);
        const xt = blankLatents(rows, models, latentSize);
        const { policy } = denoisersOf(prompts);
        return inPasses(policy, config.samplingBatch).forRows(range(rows).map((i) => i % prompts))(xt, 500);
      }),
  });
  const freed = freedTexts(models, config);
  const waiting = [vae, spm, lrm].flatMap((model) => model?.parameters() ?? []);
  const away = config.offload && config.device !== "cpu" ? bytesOf(waiting) : 0;
  return {
    models,
    memory: { ...memory, weights: memory.weights - freed },
    phases: [
      textPhase(models, config, {
        ...{ n: prompts, runs: 1 },
        count: (meter) => meter.count("judgeText", prompts),
      }),
      step(prompts, alone, "sampling, one latent a prompt"),
      ...(together > 0 ? [step(k * prompts, together, "sampling, all candidates")] : []),
      ...(spm
        ? [
            {
              name: "decode",
              runs: (rounds * judged) / chunk,
              body: (meter: WorkMeter) => {
                meter.count("vaeDecode", chunk);
                frozen(() => vae.decodeLatents(blankLatents(chunk, models, latentSize)));
              },
            },
          ]
        : []),
      {
        name: "judge",
        runs: (rounds * judged) / chunk,
        body: (meter) =>
          frozen(() => {
            meter.count("judgeImage", chunk);
            if (lrm) {
              const latents = blankLatents(chunk, models, latentSize, lrm.unet.dtype);
              const [texts, away] = [chunk, 1].map((n) => lrm.encode(lrmIds(n, models))) as LatentTexts[];
              lrm.imageFeatures(latents, 500, texts as LatentTexts, away);
            } else if (spm) {
              const side = spm.config.vision_config.image_size;
              blankImages(chunk, models, latentSize); // as decoded, which stay until they are judged
              const { dtype } = spm.visual_projection.weight;
              spm.imageFeatures(blank([chunk, 3, side, side], models, dtype), 500);
            }
          }),
      },
      {
        name: "update",
        runs: (rounds * transitions) / size,
        away,
        body: (meter) =>
          update(trained, size < config.batch, () => {
            pairGradients({
              ...denoisersOf(size),
              pairs: blankPairs(size, apartInBatch, models, latentSize),
              places: range(size),
              scale: (loss) => precision.scale(loss),
              process: pipe.process,
              ...{ steps, eta, beta, clip, ratio, meter },
            });
          }),
      },
      { ...optimizerPhase(trained, optimizer, (rounds * transitions) / config.batch), away },
    ],
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
  const each = <T>(value: T): T[] => range(size).map(() => value);
  return {
    size,
    timesteps: each(501),
    prompts: range(size),
    ...{ latentsWin: latents(), latentsLose: latents(), nextWin: latents(), nextLose: latents() },
    shared: range(size).map((i) => i >= apart),
    margins: each(1),
    comparisons: each(0),
  };
}

const range = (n: number): number[] => [...Array(n).keys()];
