import type { TextToImage } from "@spo/diffusion";
import { UserError } from "@spo/torch";

/**
 * Side of the square images that a base is trained on, pixels: the given one, or the size that it was made for.
 *
 * Throws a UserError (`CONFIG`) for a side that the VAE or the denoiser's patches cannot take, and for a base that predicts x_0: there is
 * no loss of that here. Bounds of x̂0 (`clip_sample`, `thresholding`) are a matter of the steps that SPO samples by.
 */
export function trainingSide(pipe: TextToImage, resolution: number | null): number {
  if (pipe.process.prediction === "sample") {
    throw new UserError(
      'The model\'s scheduler_config.json has prediction_type "sample"; this training is defined for models that predict the noise or v.',
      { code: "CONFIG", hint: 'Take a model with prediction_type "epsilon" or "v_prediction".' },
    );
  }
  const side = resolution ?? Math.min(...pipe.denoiser.sampleSize) * pipe.vae.factor;
  const { factor } = pipe.vae;
  const { latentMultiple: patch } = pipe.denoiser;
  const multiple = factor * patch;
  if (side % multiple !== 0) {
    const what =
      patch === 1 ? "the VAE's factor" : `the VAE's factor ${factor} times the side of a patch ${patch}`;
    throw new UserError(`resolution ${side} is no multiple of ${multiple}, ${what}.`, {
      code: "CONFIG",
      hint: `The nearest is ${Math.max(1, Math.round(side / multiple)) * multiple}.`,
    });
  }
  return side;
}

/** Height and width of the latents of a training's images: those of the model's own size may be no square. Throws as `trainingSide`. */
export function latentSizeOf(pipe: TextToImage, resolution: number | null): readonly [number, number] {
  const side = trainingSide(pipe, resolution) / pipe.vae.factor;
  return resolution === null ? pipe.denoiser.sampleSize : [side, side];
}
