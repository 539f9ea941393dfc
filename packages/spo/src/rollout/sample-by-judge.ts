// A judge at work in sampling: at chosen steps the best of several candidates goes on.
import type { Denoiser, NoiseProcess } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { cat, type Device, type Generator, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";
import type { CandidateScorer } from "../judges/judge.js";
import type { Randomness } from "./randomness.js";
import { branchRange, rollout } from "./rollout.js";

/** Where candidates are drawn, and how many. */
export interface JudgedSteps {
  steps: number;
  /** k, of which the best goes on. */
  candidates: number;
  /** The first step that draws candidates. The steps before it add no noise. */
  firstBranch: number;
  /** The last that may; the steps after its candidates are judged add no noise. Default: the last of all. */
  lastBranch?: number;
  /** Steps that each candidate goes on its own before it is judged; default 0. */
  innerSteps?: number;
  /** Noise of the steps that draw candidates, in (0, 1]. */
  eta: number;
}

/** What B images are drawn with. */
export interface JudgedSampling {
  /** Row b is the prompt of image b, as in the scorer. */
  denoiser: Denoiser;
  process: NoiseProcess;
  scorer: CandidateScorer;
  /** Scaled latents [n, c, h, w] → pixels [n, 3, H, W]. */
  decode: (latents: Tensor) => Tensor;
  /** [c, h, w] */
  latentShape: readonly number[];
  /** One for each image, whose noise depends on no other. */
  generators: readonly Generator[];
  /** Of the latents; the noise is drawn where the generators are. */
  device: Device;
  settings: JudgedSteps;
  meter?: WorkMeter;
  onStep?: (done: number, steps: number) => void;
}

/**
 * Scaled latents [B, c, h, w] of B images: a rollout whose best candidate goes on, then the steps that are left. A score that is not finite
 * lets the first candidate go on.
 *
 * Throws as `rollout`. Source: greedy search over noise, best of k at each step; Ma et al. 2025 (inference-time scaling), section 3.
 */
export function sampleByJudge(input: JudgedSampling): Tensor {
  const { denoiser, process, generators, latentShape, settings, meter, onStep } = input;
  const { steps, eta } = settings;
  const { device } = input;
  const count = generators.length;
  return noGrad(() =>
    scope(() => {
      const draw = (): Tensor =>
        cat(generators.map((generator) => randn([1, ...latentShape], { generator, device })));
      const { latents, comparisons } = rollout(
        {
          ...{ denoiser, process, scorer: input.scorer, decode: input.decode, meter, onStep },
          initialLatents: draw(),
          randomness: drawnForEach(generators, device),
          settings: { ...settings, threshold: 0, eta, etaBefore: 0, continueFrom: "best" },
        },
        () => undefined,
      );
      const best = comparisons.at(-1)?.win as number[];
      let x = latents.indexSelect(
        0,
        tensor(
          best.map((j, b) => j * count + b),
          { dtype: "int64", device: latents.device },
        ),
      );
      const { end } = branchRange(settings);
      const predict = denoiser.forRows([...best.keys()]);
      for (const [i, t] of process.timesteps(steps).slice(end).entries()) {
        const before = x;
        meter?.count("unetSampling", count * denoiser.samplePasses);
        const times = { t, previous: process.previousTimestep(t, steps), eta: 0 };
        x = scope(() => process.step(before, predict(before, t), times).mean);
        before.dispose();
        onStep?.(end + i + 1, steps);
      }
      return x;
    }),
  );
}

/** The draws of each image from its own generator, in the order of the steps. Nothing is chosen at random. */
const drawnForEach = (generators: readonly Generator[], device: Device): Randomness => ({
  noise: (_, shape) => {
    const dim = shape.length === 5 ? 1 : 0;
    const own = shape.map((size, i) => (i === dim ? 1 : size));
    return scope(() =>
      cat(
        generators.map((generator) => randn(own, { generator, device })),
        dim,
      ),
    );
  },
  choose: (_, __, prompts) => Array<number>(prompts).fill(0),
});
