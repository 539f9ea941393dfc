// Noised pairs for a preference model that looks at latents: both images encoded, each with noise of its own. Nothing is predicted or
// decoded. Source: Zhang et al. 2025 (LPO), the trainer of its code.
import type { PairBatch } from "@spo/data";
import { pixelsFromBytes } from "@spo/data/pixels";
import { requireFinite, type TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { cat, type Generator, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";
import type { PreferenceModel } from "../../spm/preference-model.js";
import type { NoisedPairs, PairDraws, PairNoiser } from "./noised-pairs.js";
import { drawTimesteps, type TimestepSettings } from "./pixel-pair-noiser.js";

/** The published training draws its timesteps from those of a sampling of so many steps. */
export const PUBLISHED_LEVELS = 20;

/** How pairs are noised. side: of the images, pixels. */
export interface LatentPairSettings extends Omit<TimestepSettings, "process"> {
  side: number;
  /** Steps of the sampling whose timesteps are drawn from. Default: 20. */
  noiseLevels?: number | null;
}

/** Scaled latents of both images at the noise of a timestep, [n, c, h, w] each; those of timestep 0 have none. */
export class LatentPairNoiser implements PairNoiser {
  readonly bytesOfPair: number;
  readonly #pipe: TextToImage;
  readonly #model: Pick<PreferenceModel, "dtype" | "device">;
  readonly #settings: LatentPairSettings;
  readonly #shape: readonly number[];

  constructor(
    pipe: TextToImage,
    model: Pick<PreferenceModel, "dtype" | "device">,
    settings: LatentPairSettings,
  ) {
    this.#pipe = pipe;
    this.#model = model;
    this.#settings = settings;
    const side = settings.side / pipe.vae.factor;
    this.#shape = pipe.denoiser.latentShape([side, side]);
    this.bytesOfPair = 2 * 4 * this.#shape.reduce((a, b) => a * b, 1);
  }

  /** Unlike a model of images, each image has a noise of its own beside its posterior sample's; both have the pair's timestep. */
  draw(n: number, generator: Generator, given?: readonly number[]): PairDraws {
    const { process } = this.#pipe;
    const levels = process.timesteps(this.#settings.noiseLevels ?? PUBLISHED_LEVELS);
    const timesteps = given ?? drawTimesteps(n, { process, ...this.#settings }, generator, levels);
    const noise = (): Tensor => randn([n, ...this.#shape], { generator });
    return {
      timesteps,
      noises: { posterior0: noise(), posterior1: noise(), step0: noise(), step1: noise() },
    };
  }

  noise(batch: PairBatch, draws: PairDraws, meter?: WorkMeter): NoisedPairs {
    return noGrad(() => scope(() => this.addNoise(this.encode(batch, draws, meter), draws)));
  }

  /** Scaled latents of both images without noise, at timestep 0. images: pixels in place of the batch's. Throws as `noise`. */
  encode(
    batch: PairBatch,
    { noises }: Pick<PairDraws, "noises">,
    meter?: WorkMeter,
    images?: readonly Tensor[],
  ): NoisedPairs {
    return noGrad(() =>
      scope(() => {
        const { vae, denoiser } = this.#pipe;
        const { device } = denoiser;
        const n = batch.prompts.length;
        const of = (name: string): Tensor => (noises[name] as Tensor).to({ device });
        meter?.count("vaeEncode", 2 * n);
        const pixels =
          images ??
          [batch.image0, batch.image1].map((bytes) =>
            pixelsFromBytes(bytes, this.#settings.side, { device }),
          );
        const latents = vae.toLatents(cat(pixels), cat([of("posterior0"), of("posterior1")]));
        const [side0, side1] = latents.chunk(2) as [Tensor, Tensor];
        for (const side of [side0, side1])
          requireFinite(side, this.#pipe, (i) => `of the pair ${batch.where[i]}, as the VAE encodes it`);
        return {
          ...{ side0, side1, prompts: batch.prompts, label0: batch.label0, examples: batch.examples },
          timesteps: tensor(
            batch.prompts.map(() => 0),
            { dtype: "int64", device },
          ),
        };
      }),
    );
  }

  /** Encoded pairs at the noise of the drawn timesteps. */
  addNoise(encoded: NoisedPairs, { timesteps, noises }: PairDraws): NoisedPairs {
    return noGrad(() =>
      scope(() => {
        const { process, denoiser } = this.#pipe;
        const { device } = denoiser;
        const [latents, noise] = [
          [encoded.side0, encoded.side1],
          [noises.step0, noises.step1],
        ].map((sides) => cat(sides.map((side) => (side as Tensor).to({ device })))) as [Tensor, Tensor];
        const both = [...timesteps, ...timesteps];
        // Finished samples are judged at timestep 0 as they are.
        const isClean = tensor(
          both.map((t) => (t === 0 ? 1 : 0)),
          { device },
        ).reshape([-1, 1, 1, 1]);
        const noisy = process.addNoise(latents, noise, both).lerp(latents, isClean);
        const [side0, side1] = noisy.chunk(2) as [Tensor, Tensor];
        return {
          ...{ ...encoded, side0, side1 },
          timesteps: tensor(timesteps.map(Math.round), { dtype: "int64", device }),
        };
      }),
    );
  }

  inputs({ side0, side1 }: NoisedPairs): [Tensor, Tensor] {
    const { dtype, device } = this.#model;
    return [side0.to({ dtype, device }), side1.to({ dtype, device })];
  }
}
