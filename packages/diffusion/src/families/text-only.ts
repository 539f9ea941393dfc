// Refuses UNets that need more inputs than noise and a text, and says which.
import { UserError } from "@spo/torch";
import type { AutoencoderKL } from "../models/autoencoder-kl.js";
import type { UNet2DConditionModel } from "../models/unet-2d-condition.js";

/** UNets of more input channels than latents have, and what these hold. */
const FURTHER_INPUTS: Readonly<Record<number, string>> = {
  5: "an image's depth, over which it draws",
  7: "a small image, which it scales up",
  8: "an image, which it edits (InstructPix2Pix)",
  9: "a mask and an image, which it fills in (in-painting)",
};

/** What SDXL's UNets are told in numbers: sizes, crop and target; the refiner an aesthetic score in place of the target. */
const TOLD = { base: 6, refiner: 5 };

/**
 * Throws a UserError (`CONFIG`) unless a UNet takes latents of the VAE, and is told what its pipeline can tell.
 *
 * pooled: width of the pooled text of SDXL's second text encoder; absent for Stable Diffusion.
 */
export function requireTextOnly(unet: UNet2DConditionModel, vae: AutoencoderKL, pooled?: number): void {
  const { in_channels: inputs, out_channels: outputs } = unet.config;
  const { latent_channels: latents } = vae.config;
  const refuse = (why: string, hint = "Give a checkpoint that draws from a text alone."): never => {
    throw new UserError(why, { code: "CONFIG", hint });
  };
  if (inputs !== latents) {
    const further = FURTHER_INPUTS[inputs];
    const holds = further ? `: the others hold ${further}` : "";
    refuse(`The UNet takes ${inputs} channels and latents have ${latents}${holds}.`);
  }
  if (outputs !== latents) refuse(`The UNet gives ${outputs} channels and latents have ${latents}.`);

  const { addition_time_embed_dim: width, projection_class_embeddings_input_dim: conditions } = unet.config;
  const toldSizes = unet.config.addition_embed_type === "text_time";
  if (toldSizes !== (pooled !== undefined)) {
    const why = toldSizes
      ? "is told the image's size, as SDXL's are"
      : "is not told the image's size, as SDXL's are";
    refuse(
      `The UNet ${why}, and the pipeline is ${toldSizes ? "not " : ""}SDXL's.`,
      "Give the parts of one model.",
    );
  }
  if (!toldSizes || pooled === undefined) return;
  const told = ((conditions as number) - pooled) / (width as number);
  if (told === TOLD.refiner)
    refuse(
      "The UNet is SDXL's refiner: it goes on with an image that the base has begun, and is told an aesthetic score.",
      "Give the SDXL base.",
    );
  if (told !== TOLD.base) {
    const wanted = pooled + TOLD.base * (width as number);
    refuse(
      `The UNet's projection_class_embeddings_input_dim is ${conditions}; the text encoder and ${TOLD.base} numbers make ${wanted}.`,
      "Give the parts of one model.",
    );
  }
}
