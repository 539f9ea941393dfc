import type { TextToImage } from "@spo/diffusion";
import { UserError } from "@spo/torch";

/**
 * Side of the square images that a base is trained on, pixels: the given one, or the size that it was made for.
 *
 * Throws a UserError (`CONFIG`) for a side that the VAE cannot take and for a base that predicts x_0: there is no loss of that
 * here. Bounds of x̂0 (`clip_sample`, `thresholding`) are a matter of the steps that SPO samples by.
 */
export function trainingSide(pipe: TextToImage, resolution: number | null): number {
  if (pipe.process.prediction === "sample") {
    throw new UserError(
      'The model\'s scheduler_config.json has prediction_type "sample"; this training is defined for models that predict the noise or v.',
      { code: "CONFIG", hint: 'Take a model with prediction_type "epsilon" or "v_prediction".' },
    );
  }
  const side = resolution ?? Math.min(...pipe.denoiser.sampleSize) * pipe.vae.factor;
  if (side % pipe.vae.factor !== 0) {
    throw new UserError(`resolution ${side} is no multiple of ${pipe.vae.factor}, the VAE's factor.`, {
      code: "CONFIG",
    });
  }
  return side;
}

/** Height and width of the latents of a training's images: those of the model's own size may be no square. Throws as `trainingSide`. */
export function latentSizeOf(pipe: TextToImage, resolution: number | null): readonly [number, number] {
  const side = trainingSide(pipe, resolution) / pipe.vae.factor;
  return resolution === null ? pipe.denoiser.sampleSize : [side, side];
}
