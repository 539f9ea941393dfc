// Pairs as Diffusion-DPO's loss needs them: latents of both images, noised alike. Source: algorithm 6.

import type { PairBatch } from "@spo/data";
import { pixelsFromBytes } from "@spo/data/pixels";
import type { Conditions, NoiseProcess, TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import {
  cat,
  type Device,
  type Generator,
  generatorAt,
  noGrad,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import type { PromptCache } from "../training/prompt-cache.js";

/** n pairs, winners in the first half. */
export interface NoisyPairs {
  /** [2n, c, h, w] */
  noisy: Tensor;
  /** What the model should put out, [2n, c, h, w]: of noise that is the same for both sides of a pair, as are the timesteps. */
  target: Tensor;
  /** [2n] */
  timesteps: Tensor;
  /** The n pairs' prompts, some of them left empty. */
  prompts: readonly string[];
  /** What the denoiser is told of them. */
  conditions: Conditions;
}

/** What is drawn for one pair. */
export interface PairDraw {
  /** Of the process's training. */
  timestep: number;
  /** The pair's own, or the empty one. */
  prompt: string;
  /** [1, c, h, w] of latents: to reach the timestep, and each image's own for its posterior sample. */
  noise: Tensor;
  posteriorWin: Tensor;
  posteriorLose: Tensor;
}

/**
 * Draws for one pair, all from one generator.
 *
 * process: draws the timestep. channels, size: of square latents. emptyPrompts: probability of leaving the prompt empty, which changes no
 * other draw.
 */
export function drawPair(
  prompt: string,
  {
    generator,
    process,
    channels,
    size,
    emptyPrompts,
  }: { generator: Generator; process: NoiseProcess; channels: number; size: number; emptyPrompts: number },
): PairDraw {
  const shape = [1, channels, size, size];
  return {
    timestep: process.drawTimesteps(1, generator)[0] as number,
    prompt: rand([1], { generator }).item() < emptyPrompts ? "" : prompt,
    noise: randn(shape, { generator }),
    posteriorWin: randn(shape, { generator }),
    posteriorLose: randn(shape, { generator }),
  };
}

/** The pairs of a batch, noised by what was drawn for each of them. cache: where their prompts' encodings are. */
export function noisyPairs(
  pipe: TextToImage,
  batch: PairBatch,
  draws: readonly PairDraw[],
  meter: WorkMeter,
  cache?: PromptCache,
): NoisyPairs {
  return scope(() => {
    const { side } = batch;
    const { device } = pipe.denoiser;
    const gather = (of: (draw: PairDraw) => Tensor): Tensor => cat(draws.map(of)).to({ device });
    const [win, lose] = sidesOf(batch, device);
    meter.count("vaeEncode", 2 * draws.length);
    const latents = meter.phase("encode", () =>
      pipe.vae.toLatents(
        cat([win, lose]),
        cat([gather((draw) => draw.posteriorWin), gather((draw) => draw.posteriorLose)]),
      ),
    );
    const one = gather((draw) => draw.noise);
    const noise = cat([one, one]);
    const times = [...draws, ...draws].map(({ timestep }) => timestep);
    const prompts = draws.map(({ prompt }) => prompt);
    return {
      prompts,
      target: pipe.process.target(latents, noise, times),
      timesteps: tensor(times, { device }),
      noisy: pipe.process.addNoise(latents, noise, times),
      conditions: meter.phase("text", () =>
        cache ? cache.read(prompts) : pipe.encode(prompts, { size: [side, side] }).conditional,
      ),
    };
  });
}

/** Pixels of winners and of losers, [n, 3, side, side] in [−1, 1] each. */
export function sidesOf(
  { image0, image1, label0, label1, side }: PairBatch,
  device?: Device,
): [Tensor, Tensor] {
  const [first, second] = [
    pixelsFromBytes(image0, side, { device }),
    pixelsFromBytes(image1, side, { device }),
  ];
  const firstWins = tensor(
    label0.map((label, i) => Number(label > (label1[i] as number))),
    { shape: [label0.length, 1, 1, 1], device },
  );
  return [second.lerp(first, firstWins), first.lerp(second, firstWins)];
}

/** What the draws of a batch's pairs depend on. */
export interface PairDraws {
  seed: number;
  /** Of pair i of the batch: draws depend on the seed and this alone. */
  place: (i: number) => number | string;
  /** Side of the latents. */
  size: number;
  /** Share of prompts that are left empty. */
  emptyPrompts: number;
  /** Where the prompts' encodings are, the empty one's too; default: they are encoded. */
  cache?: PromptCache;
}

/** Pairs noised by what is drawn for each of them, without a graph. */
export const drawNoisyPairs = (
  pipe: TextToImage,
  batch: PairBatch,
  { seed, place, size, emptyPrompts, cache }: PairDraws,
  meter: WorkMeter,
): NoisyPairs =>
  noGrad(() =>
    scope(() => {
      const { process, denoiser } = pipe;
      const draws = batch.prompts.map((prompt, i) => {
        const generator = generatorAt(seed, "pair", place(i));
        return drawPair(prompt, {
          generator,
          process,
          channels: denoiser.latentChannels,
          size,
          emptyPrompts,
        });
      });
      return noisyPairs(pipe, batch, draws, meter, cache);
    }),
  );
