// Held-out samples of a training: the same prompts from the same noise each time, and how far the model has moved from the base.
import type { Denoiser, NoiseProcess } from "@spo/diffusion";
import { cat, type Device, generatorAt, keep, noGrad, randn, scope, type Tensor } from "@spo/torch";
import type { CandidateScorer } from "../../judges/judge.js";

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
  /** How many prompts. */
  count: number;
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
  /** Decoded samples [n, 3, H, W], about [−1, 1]. In no scope. */
  images: Tensor;
  metrics: {
    /** Mean squared difference of guided outputs, on the base's samples noised to five timesteps. */
    drift: number;
    /** Mean |x − x_base|² of the samples' latents. */
    distance: number;
    /** Mean score of the samples, at timestep 0. */
    score?: number;
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
  const rows = Array.from({ length: count }, (_, i) => i);
  const draw = (what: string): Tensor =>
    scope(() =>
      cat(rows.map((i) => randn([1, ...latentShape], { generator: generatorAt(seed, what, i), device }))),
    );
  const latentsOf = (which: "policy" | "reference"): Tensor => {
    const predict = input[which].forRows(rows);
    input.onStep?.(0, steps);
    let x = draw("held-out sample");
    for (const [i, t] of process.timesteps(steps).entries()) {
      const before = x;
      const times = { t, previous: process.previousTimestep(t, steps), eta: 0 };
      x = scope(() => process.step(x, predict(x, t), times).mean);
      before.dispose();
      input.onStep?.(i + 1, steps);
    }
    return x;
  };
  const base = keep(noGrad(() => scope(() => latentsOf("reference"))));
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

  return (which) =>
    noGrad(() =>
      scope(() => {
        const latents = which === "reference" ? base : latentsOf("policy");
        const images = keep(decode(latents));
        const candidates = { xt: latents, x0: latents, timestep: 0, image: () => images };
        const scores = scorer?.score(candidates, rows);
        const predict = input[which].forRows(rows);
        const drifts = probes.map(({ t, xt, output }) => meanSquare(predict(xt, t).sub(output)));
        return {
          images,
          metrics: {
            drift: drifts.reduce((sum, drift) => sum + drift, 0) / drifts.length,
            distance: meanSquare(latents.sub(base)),
            ...(scores && { score: scores.mean().item() }),
          },
        };
      }),
    );
}

const meanSquare = (of: Tensor): number => scope(() => of.square().mean().item());
