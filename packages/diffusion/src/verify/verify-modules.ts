// Golden outputs of UNet and VAE, for the checks of the models themselves and of the layouts that they are read from.
import { join } from "node:path";
import { loadVae } from "../layouts/model-folder.js";
import { type AutoencoderKL, samplePosterior } from "../models/autoencoder-kl.js";
import type { UNet2DConditionModel, UNetConditions } from "../models/unet-2d-condition.js";
import { type Case, type Cases, collectCases, openGolden } from "./verify-check.js";

/** The families that there are golden files of. */
export const GOLDEN_FAMILIES = ["sd15", "sdxl"] as const;
/** One of them, by its name. */
export type GoldenFamily = (typeof GOLDEN_FAMILIES)[number];

/** The outputs of a UNet at the timesteps of the file. */
export function compareUnet(
  cases: Cases,
  dir: string,
  family: GoldenFamily,
  unet: UNet2DConditionModel,
  tolerance: number | ((scale: number) => number),
): void {
  const { get } = openGolden(dir, `expected-${family}.safetensors`);
  for (const [i, t] of get("unet/timesteps").toNumbers().entries()) {
    cases.near(
      `unet/out.${i}`,
      unet.forward(get("unet/sample"), t, conditionsOf(dir, family)),
      get(`unet/out.${i}`),
      tolerance,
    );
  }
}

/** What the UNet of the golden file is told. */
export function conditionsOf(dir: string, family: GoldenFamily): UNetConditions {
  const { file, get } = openGolden(dir, `expected-${family}.safetensors`);
  const context = get("unet/context");
  if (!file.has("unet/text_embeds")) return { context };
  return { context, textEmbeds: get("unet/text_embeds"), timeIds: get("unet/time_ids") };
}

/** All outputs of a VAE. folder: of the VAE, relative to dir. */
export function checkVae(dir: string, family: GoldenFamily, folder: string): Case[] {
  return collectCases((cases) => {
    const { get } = openGolden(dir, `expected-${family}.safetensors`);
    const vae: AutoencoderKL = loadVae(join(dir, folder));
    const image = get("vae/image");
    const posterior = vae.encode(image);
    const sample = samplePosterior(posterior, get("vae/posterior_noise"));
    const decoded = vae.decode(get("vae/decode_latents").div(vae.scalingFactor));
    cases.near("vae/moments", vae.moments(image), get("vae/moments"), 1e-5);
    cases.near("vae/mean", posterior.mean, get("vae/mean"), 1e-5);
    cases.near("vae/logvar", posterior.logvar, get("vae/logvar"), 1e-5);
    cases.near("vae/std", posterior.logvar.mul(0.5).exp(), get("vae/std"), 1e-5);
    cases.near("vae/posterior_sample", sample, get("vae/posterior_sample"), 1e-5);
    cases.near("vae/latents", sample.mul(vae.scalingFactor), get("vae/latents"), 1e-5);
    cases.near("vae/decoded", decoded, get("vae/decoded"), 1e-5);
    cases.near("vae/image01", decoded.div(2).add(0.5).clamp(0, 1), get("vae/image01"), 1e-5);
    vae.dispose();
  });
}
