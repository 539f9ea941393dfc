// Held-out samples of a training: the same prompts from the same noise each time, and how far the model has moved from the base.
import type { Denoiser, NoiseProcess } from "@spo/diffusion";
import { mean } from "@spo/records";
import { cat, type Device, generatorAt, keep, noGrad, randn, scope, type Tensor } from "@spo/torch";
import type { CandidateScorer, Candidates } from "../../judges/judge.js";
import { normRatios } from "../../objectives/norm-guard.js";
import { oneEach } from "../../rollout/judge-candidates.js";
import type { HeldOutScorer } from "./held-out-scorers.js";
import { type ImageStatistics, imageStatistics, pixelDiversity } from "./image-drift.js";

/** Timesteps of the drift, evenly over those of sampling. */
const DRIFT_STEPS = 5;

export interface HeldOutInput {
  /** Both for the same prompts. Before the first update they are equal. */
  policy: Denoiser;
  reference: Denoiser;
  process: NoiseProcess;
  decode: (latents: Tensor) => Tensor;
  /** Of these prompts. Absent where scores say nothing. */
  scorer?: CandidateScorer;
  /** Scorers that train nothing. */
  heldOutScorers?: readonly HeldOutScorer[];
  /** How many prompts. */
  count: number;
  /** Samples of each prompt, from different noise; default 1. */
  imagesPerPrompt?: number;
  /** [c, h, w] */
  latentShape: readonly number[];
  steps: number;
  seed: number;
  device?: Device;
  /** Called as sampling begins, and after each step. */
  onStep?: (done: number, steps: number) => void;
}

/** The model compared with the base, at one moment of a training. */
export interface Standing {
  /** Decoded samples, the first of each prompt, [n, 3, H, W], about [−1, 1]. In no scope. */
  images: Tensor;
  /** Of the images, at timestep 0; absent without a scorer. */
  scores?: number[];
  /**
   * Of the first sample of each prompt, unless said. Beside those named: `heldOut/NAME`, the mean score of all samples by a scorer;
   * `norm/t=801`, mean ‖output‖/‖output of the base‖ on the noised samples of the base; `saturation`, `contrast`, `highFrequency` of all
   * samples over the base's; `diversity`, the mean distance between two samples of a prompt.
   */
  metrics: Record<string, number> & {
    /** Mean squared difference of guided outputs, on the base's samples noised to five timesteps. */
    drift: number;
    /** Mean |x − x_base|² of the samples' latents. */
    distance: number;
    /** Mean score of the samples, at timestep 0. */
    score?: number;
    /** Of all samples: how their mean scores by held-out scorers differ from the base's, in standard deviations of the base's; a mean. */
    heldOut?: number;
  };
}

/**
 * Samples the base by deterministic DDIM → a function that samples the policy and compares it with the base. All draws depend on the seed
 * alone.
 *
 * None of it counts as the training's work.
 */
export function heldOutSamples(input: HeldOutInput): (which: "policy" | "reference") => Standing {
  const { process, steps, count, latentShape, seed, device, scorer, decode } = input;
  const { heldOutScorers = [], imagesPerPrompt = 1 } = input;
  const rows = Array.from({ length: count }, (_, i) => i);
  const draw = (what: string): Tensor =>
    scope(() =>
      cat(rows.map((i) => randn([1, ...latentShape], { generator: generatorAt(seed, what, i), device }))),
    );
  const latentsOf = (which: "policy" | "reference", nth = 0): Tensor => {
    const predict = input[which].forRows(rows);
    input.onStep?.(0, steps);
    let x = draw(nth === 0 ? "held-out sample" : `held-out sample ${nth}`);
    for (const [i, t] of process.timesteps(steps).entries()) {
      const before = x;
      const times = { t, previous: process.previousTimestep(t, steps), eta: 0 };
      x = scope(() => process.step(x, predict(x, t), times).mean);
      before.dispose();
      input.onStep?.(i + 1, steps);
    }
    return x;
  };
  const bases = keep(
    noGrad(() =>
      scope(() => Array.from({ length: imagesPerPrompt }, (_, nth) => latentsOf("reference", nth))),
    ),
  );
  const base = bases[0] as Tensor;
  // Predictions of the base do not change, so they are made once.
  const probes = keep(
    noGrad(() =>
      scope(() => {
        const predict = input.reference.forRows(rows);
        return process.timesteps(Math.min(DRIFT_STEPS, steps)).map((t) => {
          const xt = process.addNoise(base, draw(`drift ${t}`), t);
          return { t, xt, output: predict(xt, t) };
        });
      }),
    ),
  );
  const candidatesOf = (latents: Tensor, images: Tensor): Candidates => ({
    ...{ xt: latents, x0: latents, timestep: 0 },
    image: () => images,
  });
  // What all samples look like, and what held-out scorers say of them.
  const panelOf = (latents: readonly Tensor[], images: readonly Tensor[]): Panel => ({
    statistics: imageStatistics(cat(images)),
    scores: heldOutScorers.map(({ scorer: held }) =>
      latents.flatMap((of, nth) => oneEach(held.score(candidatesOf(of, images[nth] as Tensor), rows), count)),
    ),
  });
  const basePanel = noGrad(() =>
    scope(() =>
      panelOf(
        bases,
        bases.map((latents) => decode(latents)),
      ),
    ),
  );

  return (which) =>
    noGrad(() =>
      scope(() => {
        const all =
          which === "reference"
            ? bases
            : [latentsOf("policy"), ...bases.slice(1).map((_, nth) => latentsOf("policy", nth + 1))];
        const latents = all[0] as Tensor;
        const images = keep(decode(latents));
        const allImages = [images, ...all.slice(1).map((others) => decode(others))];
        const scores = scorer?.score(candidatesOf(latents, images), rows);
        const predict = input[which].forRows(rows);
        const found = probes.map(({ t, xt, output }) => {
          const own = predict(xt, t);
          return { t, drift: meanSquare(own.sub(output)), norm: normRatios(own, output).mean().item() };
        });
        const panel = panelOf(all, allImages);
        return {
          images,
          ...(scores && { scores: oneEach(scores, count) }),
          metrics: {
            drift: found.reduce((sum, { drift }) => sum + drift, 0) / found.length,
            distance: meanSquare(latents.sub(base)),
            ...(scores && { score: scores.mean().item() }),
            ...heldOutMetrics(panel, basePanel, heldOutScorers),
            ...Object.fromEntries(found.map(({ t, norm }) => [`norm/t=${Math.round(t)}`, norm])),
            ...ratiosOf(panel.statistics, basePanel.statistics),
            ...(imagesPerPrompt > 1 && { diversity: pixelDiversity(allImages) }),
          },
        };
      }),
    );
}

interface Panel {
  statistics: ImageStatistics;
  /** By scorer, of all samples. */
  scores: number[][];
}

function heldOutMetrics(
  { scores }: Panel,
  base: Panel,
  scorers: readonly HeldOutScorer[],
): Record<string, number> {
  if (scorers.length === 0) return {};
  const moved = scores.map((of, i) => {
    const before = base.scores[i] as number[];
    const spread = standardDeviation(before);
    return (mean(of) - mean(before)) / (spread > 0 ? spread : 1);
  });
  return {
    heldOut: mean(moved),
    ...Object.fromEntries(scorers.map(({ name }, i) => [`heldOut/${name}`, mean(scores[i] as number[])])),
  };
}

const ratiosOf = (of: ImageStatistics, base: ImageStatistics): Record<string, number> => ({
  saturation: of.saturation / base.saturation,
  contrast: of.contrast / base.contrast,
  highFrequency: of.highFrequency / base.highFrequency,
});

const standardDeviation = (values: readonly number[]): number => {
  const centre = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - centre) ** 2)));
};

const meanSquare = (of: Tensor): number => scope(() => of.square().mean().item());
