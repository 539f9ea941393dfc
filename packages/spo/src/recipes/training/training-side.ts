import type { TextToImage } from "@spo/diffusion";
import { UserError } from "@spo/torch";

/**
 * Side of the square images that a base is trained on, pixels: the given one, or the size that it was made for.
 *
 * Throws a UserError (`CONFIG`) for a side that the VAE cannot take, for a base that does not predict noise, and for one whose scheduler bounds
 * x̂0: the densities of a step and the losses are those of plain DDIM.
 */
export function trainingSide(pipe: TextToImage, resolution: number | null): number {
  const { prediction_type: prediction, clip_sample, thresholding } = pipe.schedule.config;
  if (prediction !== "epsilon") {
    throw new UserError(`The model predicts ${prediction}; this training is defined on noise predictions.`, {
      code: "CONFIG",
    });
  }
  if (clip_sample || thresholding) {
    throw new UserError(
      `The model's scheduler_config.json has ${thresholding ? "thresholding" : "clip_sample"}; this training is defined on steps whose x̂0 is not bounded.`,
      { code: "CONFIG", hint: "Set it to false: latents of Stable Diffusion go beyond such bounds." },
    );
  }
  const size = pipe.unet.config.sample_size ?? 64;
  const latent = typeof size === "number" ? size : Math.min(...size);
  const side = resolution ?? latent * pipe.vae.factor;
  if (side % pipe.vae.factor !== 0) {
    throw new UserError(`resolution ${side} is no multiple of ${pipe.vae.factor}, the VAE's factor.`, {
      code: "CONFIG",
    });
  }
  return side;
}
