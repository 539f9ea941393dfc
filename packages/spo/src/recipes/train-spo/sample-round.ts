// The rollout of one round: pools of candidates for its prompts, and the pairs among them.
import type { Denoiser, NoiseProcess } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { type Device, type Generator, keep, noGrad, randn, scope, type Tensor } from "@spo/torch";
import type { CandidateScorer } from "../../judges/judge.js";
import { type Resampled, resample } from "../../objectives/resample.js";
import { drawn } from "../../rollout/randomness.js";
import type { RolloutSettings } from "../../rollout/rollout.js";
import type { Policy } from "../training/policy.js";

/** What a round is sampled with. */
export interface RoundInput {
  /** One row a prompt. */
  denoiser: Denoiser;
  policy: Pick<Policy, "withMergedAdapter">;
  process: NoiseProcess;
  decode: (latents: Tensor) => Tensor;
  /** Of the round's prompts. */
  scorer: CandidateScorer;
  settings: RolloutSettings;
  /** How many prompts. */
  count: number;
  /** [c, h, w] */
  latentShape: readonly number[];
  /** All draws of the round. */
  generator: Generator;
  device: Device;
  /** Candidates share the noise within blocks of so many latent pixels; 1: they share nothing. */
  noiseBlock: number;
  /** Prompts whose candidates are kept as pictures. */
  stripPrompts: readonly number[];
  meter?: WorkMeter;
  onStep?: (done: number, total: number) => void;
}

/** Samples a round without a graph. The caller disposes of the pairs and of the pictures. Source: algorithm 4. */
export const sampleRound = (input: RoundInput): Omit<Resampled, "latents"> =>
  input.policy.withMergedAdapter(() =>
    noGrad(() =>
      scope(() => {
        const { generator, device, settings, stripPrompts, meter, onStep } = input;
        const { latents: _, ...kept } = resample({
          denoiser: input.denoiser,
          process: input.process,
          decode: input.decode,
          scorer: input.scorer,
          initialLatents: randn([input.count, ...input.latentShape], { generator, device }),
          randomness: drawn(generator, { device, noiseBlock: input.noiseBlock }),
          ...{ settings, stripPrompts, meter, onStep },
        });
        return keep(kept);
      }),
    ),
  );
