import type { TextToImage } from "@spo/diffusion";
import { UserError } from "@spo/torch";

/**
 * Side of the square images that a base is trained on, pixels: the given one, or the size that it was made for.
 *
 * Throws a UserError (`CONFIG`) for a side that the VAE cannot take and for a base that does not predict noise. Bounds of x̂0
 * (`clip_sample`, `thresholding`) change no noise: they are a matter of the steps that SPO samples by.
 */
export function trainingSide(pipe: TextToImage, resolution: number | null): number {
  const { prediction_type: prediction } = pipe.schedule.config;
  if (prediction !== "epsilon") {
    throw new UserError(`The model predicts ${prediction}; this training is defined on noise predictions.`, {
      code: "CONFIG",
    });
  }
  const side = resolution ?? Math.min(...pipe.denoiser.sampleSize) * pipe.vae.factor;
  if (side % pipe.vae.factor !== 0) {
    throw new UserError(`resolution ${side} is no multiple of ${pipe.vae.factor}, the VAE's factor.`, {
      code: "CONFIG",
    });
  }
  return side;
}
