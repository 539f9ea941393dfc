// The rollout of a round, or of some of its prompts: pools of candidates, and the pairs among them.
import type { Denoiser, NoiseProcess } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { type Device, type Generator, keep, noGrad, randn, scope, type Tensor } from "@spo/torch";
import type { CandidateScorer } from "../../judges/judge.js";
import { type Resampled, resample } from "../../objectives/resample.js";
import { drawn, drawnForRows, rowsOf } from "../../rollout/randomness.js";
import type { RolloutSettings } from "../../rollout/rollout.js";
import type { Policy } from "../training/policy.js";

/** What a round is sampled with. */
export interface RoundInput {
  /** One row a prompt of the round. */
  denoiser: Denoiser;
  policy: Pick<Policy, "withMergedAdapter">;
  process: NoiseProcess;
  decode: (latents: Tensor) => Tensor;
  /** Of the sampled prompts. */
  scorer: CandidateScorer;
  settings: RolloutSettings;
  /** How many prompts the round has. */
  count: number;
  /** Those of them that are sampled; default all. What is drawn for one does not depend on the others. */
  rows?: readonly number[];
  /** [c, h, w] */
  latentShape: readonly number[];
  /** All draws of the round. */
  generator: Generator;
  device: Device;
  /** Candidates share the noise within blocks of so many latent pixels; 1: they share nothing. */
  noiseBlock: number;
  /** Prompts of those sampled, from 0, whose candidates are kept as pictures. */
  stripPrompts: readonly number[];
  /** As in `ResampleInput`. */
  askBelow?: number;
  meter?: WorkMeter;
  onStep?: (done: number, total: number) => void;
}

/** What a round gives; prompts are counted among those sampled. */
export type SampledRound = Omit<Resampled, "latents">;

/** Samples a round without a graph. The caller disposes of the pairs and of the pictures. Source: algorithm 4. */
export const sampleRound = (input: RoundInput): SampledRound =>
  input.policy.withMergedAdapter(() =>
    noGrad(() =>
      scope(() => {
        const { generator, device, settings, stripPrompts, meter, onStep, count, rows, denoiser } = input;
        const all = randn([count, ...input.latentShape], { generator, device });
        const randomness = drawn(generator, { device, noiseBlock: input.noiseBlock });
        const { latents: _, ...kept } = resample({
          process: input.process,
          decode: input.decode,
          scorer: input.scorer,
          ...(rows
            ? {
                denoiser: {
                  ...denoiser,
                  forRows: (of) => denoiser.forRows(of.map((i) => rows[i] as number)),
                },
                initialLatents: rowsOf(all, rows),
                randomness: drawnForRows(randomness, rows, count),
              }
            : { denoiser, initialLatents: all, randomness }),
          ...{ settings, stripPrompts, meter, onStep, askBelow: input.askBelow },
        });
        return keep(kept);
      }),
    ),
  );
