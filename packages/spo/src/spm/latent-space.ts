// The space that noisy latents live in: a model that looks at latents can judge another model's only where both have the same.
import { stableDiffusion, stableDiffusionXL, type TextToImage, VpSchedule } from "@spo/diffusion";
import { scope, UserError } from "@spo/torch";
import { z } from "zod";

/** What latents are scaled by, and how noise comes into them. In a model's config.json. */
export const LatentSpace = z.looseObject({
  channels: z.int().positive(),
  scaling_factor: z.number().positive(),
  shift_factor: z.number().nullish(),
  latents_mean: z.array(z.number()).nullish(),
  latents_std: z.array(z.number()).nullish(),
  /** Betas, as a scheduler_config.json has them. */
  scheduler: z.looseObject({}),
});
export type LatentSpace = z.output<typeof LatentSpace>;

/** Least difference of two shares of signal that counts: rounding stays far below, other betas far above. */
const SAME_ALPHA = 1e-4;

/** The latent space of a pipeline. Throws a UserError (`CONFIG`) for a process that is not variance preserving. */
export function latentSpaceOf({ vae, process, family }: TextToImage): LatentSpace {
  if (!(process instanceof VpSchedule))
    throw new UserError(
      `${family.title} mixes images and noise in another way than a latent reward model that is a UNet knows.`,
      {
        code: "CONFIG",
        hint: "Name another judge: a step-aware preference model that looks at images, a reward, a file of your own, or for Stable Diffusion 3.5 a DiNa-LRM.",
      },
    );
  const { latent_channels, scaling_factor, shift_factor, latents_mean, latents_std } = vae.config;
  const { num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr } =
    process.config;
  return {
    ...{ channels: latent_channels, scaling_factor, shift_factor, latents_mean, latents_std },
    scheduler: {
      ...{ num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas, rescale_betas_zero_snr },
    },
  };
}

/** Of the published models, whose latent reward models do not say it. */
export function publishedLatentSpace(family: "sd15" | "sdxl"): LatentSpace {
  const { vae, scheduler } = (family === "sd15" ? stableDiffusion : stableDiffusionXL).published;
  return { channels: 4, scaling_factor: vae.scaling_factor as number, scheduler };
}

/**
 * Throws a UserError (`DATA`) that names every difference of a judge's latent space from that of the model whose latents it would see.
 *
 * path: of the judge. What the model predicts, ε or v, makes no difference: x_t is the same.
 */
export function requireSameSpace(judge: LatentSpace, model: LatentSpace, path: string): void {
  const faults: string[] = [];
  const same = (what: string, of: (space: LatentSpace) => unknown): void => {
    const [known, seen] = [judge, model].map((space) => JSON.stringify(of(space) ?? null));
    if (known !== seen) faults.push(`  ${what}: ${known} of the judge, ${seen} of the model`);
  };
  same("channels", ({ channels }) => channels);
  same("scaling_factor", ({ scaling_factor }) => scaling_factor);
  same("shift_factor", ({ shift_factor }) => shift_factor || null);
  same("latents_mean", ({ latents_mean }) => latents_mean);
  same("latents_std", ({ latents_std }) => latents_std);
  const [known, seen] = [judge, model].map(({ scheduler }) => alphasOf(scheduler)) as [number[], number[]];
  const gap = Math.max(...known.map((alpha, t) => Math.abs(alpha - (seen[t] ?? Number.POSITIVE_INFINITY))));
  if (known.length !== seen.length)
    faults.push(`  timesteps: ${known.length} of the judge, ${seen.length} of the model`);
  else if (gap > SAME_ALPHA)
    faults.push(`  share of signal: up to ${gap.toPrecision(2)} apart at the same timestep`);
  if (faults.length === 0) return;
  throw new UserError(`${path} judges latents of another space than the model's:\n${faults.join("\n")}`, {
    code: "DATA",
    hint: "Give a latent reward model that was trained on this VAE and these betas, or train one: npx spo train spm --kind latent.",
  });
}

const alphasOf = (scheduler: LatentSpace["scheduler"]): number[] =>
  scope(() => new VpSchedule(scheduler).alphasCumprod.toNumbers());
