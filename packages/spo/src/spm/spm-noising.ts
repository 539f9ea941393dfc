import type { AutoencoderKL, Denoiser, NoiseSchedule } from "@spo/diffusion";
import { cat, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import type { WorkMeter } from "../work.js";

/** Tensors of 2n rows: image 0 of every pair, then image 1 of every pair. */
export interface NoisyPredictions {
  /** Scaled latents of the images [2n, c, h, w]. */
  latents: Tensor;
  /** x_t. */
  noisy: Tensor;
  /** Guided. */
  eps: Tensor;
  /** Clean latents predicted from x_t. */
  x0: Tensor;
}

/**
 * What a step-aware preference model is trained on: both images of a pair, noised alike and denoised once by the frozen base.
 *
 * image0, image1 [n, 3, H, W] in [−1, 1]; posteriorNoise0, posteriorNoise1 [n, c, h, w], one for each image; noise [n, c, h, w], the same
 * for both; one timestep a pair; rows: the denoiser's prompt of each pair. Source: algorithm 3c, steps 1 and 2.
 */
export function noisyPredictions(
  { vae, denoiser, schedule }: { vae: AutoencoderKL; denoiser: Denoiser; schedule: NoiseSchedule },
  pairs: {
    image0: Tensor;
    image1: Tensor;
    posteriorNoise0: Tensor;
    posteriorNoise1: Tensor;
    noise: Tensor;
    timesteps: readonly number[];
    rows: readonly number[];
  },
  meter?: WorkMeter,
): NoisyPredictions {
  return noGrad(() =>
    scope(() => {
      meter?.count("vaeEncode", 2 * pairs.rows.length);
      const images = cat([pairs.image0, pairs.image1]);
      const latents = vae.toLatents(images, cat([pairs.posteriorNoise0, pairs.posteriorNoise1]));
      return { latents, ...predictNoisy({ denoiser, schedule }, { latents, ...pairs }, meter) };
    }),
  );
}

/** The same from latents [2n, c, h, w] (image 0 of every pair, then image 1), for a data set that was encoded beforehand. */
export function predictNoisy(
  { denoiser, schedule }: { denoiser: Denoiser; schedule: NoiseSchedule },
  {
    latents,
    noise,
    timesteps,
    rows,
  }: { latents: Tensor; noise: Tensor; timesteps: readonly number[]; rows: readonly number[] },
  meter?: WorkMeter,
): Omit<NoisyPredictions, "latents"> {
  return noGrad(() =>
    scope(() => {
      const both = [...timesteps, ...timesteps];
      const t = tensor(both, { dtype: "int64", device: latents.device });
      const noisy = schedule.addNoise(latents, cat([noise, noise]), t);
      meter?.count("unetReference", both.length * denoiser.samplePasses);
      const eps = denoiser.forRows([...rows, ...rows])(noisy, t);
      return { noisy, eps, x0: predictX0Rows(noisy, eps, both, schedule) };
    }),
  );
}

/** x̂0 = (x_t − √(1−ᾱ)·ε)/√ᾱ, each row at its own timestep. The row form of `predictX0`. */
function predictX0Rows(
  xt: Tensor,
  eps: Tensor,
  timesteps: readonly number[],
  schedule: NoiseSchedule,
): Tensor {
  const alphaBars = timesteps.map((t) => schedule.alphaBar(t));
  const column = (values: number[]): Tensor =>
    tensor(values, { shape: [values.length, 1, 1, 1], device: xt.device });
  const noise = eps.mul(column(alphaBars.map((a) => Math.sqrt(1 - a))));
  return xt.sub(noise).div(column(alphaBars.map(Math.sqrt)));
}
