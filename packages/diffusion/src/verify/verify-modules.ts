// Golden outputs of UNet and VAE, for the checks of the models themselves and of the layouts that they are read from.
import { join } from "node:path";
import type { Tensor } from "@spo/torch";
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
    const vae = loadVae(join(dir, folder));
    compareVae(cases, openGolden(dir, `expected-${family}.safetensors`), vae, 1e-5);
    vae.dispose();
  });
}

/** The same of a VAE that is there. */
export function compareVae(
  cases: Cases,
  { get }: ReturnType<typeof openGolden>,
  vae: AutoencoderKL,
  tolerance: number,
): void {
  const image = get("vae/image");
  const posterior = vae.encode(image);
  const sample = samplePosterior(posterior, get("vae/posterior_noise"));
  const decoded = vae.decode(vae.unscale(get("vae/decode_latents")));
  const found: Record<string, Tensor> = {
    moments: vae.moments(image),
    mean: posterior.mean,
    logvar: posterior.logvar,
    std: posterior.logvar.mul(0.5).exp(),
    posterior_sample: sample,
    latents: vae.scale(sample),
    decoded,
    image01: decoded.div(2).add(0.5).clamp(0, 1),
  };
  for (const [name, value] of Object.entries(found))
    cases.near(`vae/${name}`, value, get(`vae/${name}`), tolerance);
}
