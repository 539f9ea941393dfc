import type { AutoencoderKL, Denoiser, NoiseProcess } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { cat, noGrad, scope, type Tensor, tensor } from "@spo/torch";

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
  { vae, denoiser, process }: { vae: AutoencoderKL; denoiser: Denoiser; process: NoiseProcess },
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
      return { latents, ...predictNoisy({ denoiser, process }, { latents, ...pairs }, meter) };
    }),
  );
}

/** The same from latents [2n, c, h, w] (image 0 of every pair, then image 1), for a data set that was encoded beforehand. */
export function predictNoisy(
  { denoiser, process }: { denoiser: Denoiser; process: NoiseProcess },
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
      const noisy = process.addNoise(latents, cat([noise, noise]), both);
      meter?.count("unetReference", both.length * denoiser.samplePasses);
      const t = tensor(both, { device: latents.device });
      const output = denoiser.forRows([...rows, ...rows])(noisy, t);
      return { noisy, ...process.predict(noisy, output, both) };
    }),
  );
}
