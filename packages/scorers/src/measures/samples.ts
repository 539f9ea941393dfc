import { quantised } from "@spo/data/pixels";
import {
  isGuided,
  requireFinite,
  type SamplerName,
  type ScheduleName,
  sampleLatents,
  type TextToImage,
} from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { generatorAt, keep, noGrad, scope, type Tensor } from "@spo/torch";
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";

/** How images are drawn: the same settings give the same images. */
export interface SampleSettings {
  seed: number;
  perPrompt: number;
  steps: number;
  guidanceScale: number;
  eta: number;
  /** Default: ddim, of a flow model its own. */
  sampler?: SamplerName;
  /** How the noise levels lie. Default: as the model's config says. */
  schedule?: ScheduleName;
  /** Default: the UNet's sample_size. */
  latentSize?: readonly [height: number, width: number];
  negativePrompt?: string;
  /** Images of one UNet batch. An image that shares a batch is that made alone but for rounding. */
  batch?: number;
  /** Images that are not wanted: prompt by its place, image by its number. */
  skip?: (prompt: number, image: number) => boolean;
  /** The processes that draw together, each its batches. Default: this one alone. */
  world?: Pick<World, "rank" | "size">;
}

export interface SampleChunk {
  /** [n, 3, h, w] in [−1, 1], rounded to what an 8-bit file holds. In no scope: whoever takes it disposes of it. */
  images: Tensor;
  /** Which prompt each image shows. */
  prompts: number[];
  /** The number of each among those of its prompt. */
  numbers: number[];
}

/**
 * Images of every prompt, prompt by prompt. Image j of a prompt depends on the seed, the prompt's text and j alone: two models given the
 * same settings start from, and are fed, the same noise. Throws a UserError (`NUMERIC`) for an image that is not finite.
 */
export function* sampleImages(
  pipe: TextToImage,
  prompts: readonly string[],
  { seed, perPrompt, batch = 16, skip, world = WORLD_OF_ONE, ...settings }: SampleSettings,
  meter?: WorkMeter,
): Generator<SampleChunk> {
  const isFlow = pipe.process.prediction === "flow_prediction";
  const { sampler = isFlow ? pipe.schedule.ownSampler() : "ddim" } = settings;
  const wanted = prompts.flatMap((_, prompt) =>
    Array.from({ length: perPrompt }, (_, image) => ({ prompt, image })).filter(
      ({ image }) => !skip?.(prompt, image),
    ),
  );
  for (let start = 0; start < wanted.length; start += batch) {
    if ((start / batch) % world.size !== world.rank) continue;
    const part = wanted.slice(start, start + batch);
    const images = keep(
      noGrad(() =>
        scope(() => {
          const latents = sampleLatents(pipe, {
            prompts: part.map(({ prompt }) => prompts[prompt] as string),
            generators: part.map(({ prompt, image }) => generatorAt(seed, prompts[prompt] as string, image)),
            ...settings,
            sampler,
          });
          meter?.count(
            "unetSampling",
            part.length * settings.steps * (isGuided(pipe.denoiser, settings.guidanceScale) ? 2 : 1),
          );
          meter?.count("vaeDecode", part.length);
          const pixels = pipe.vae.decodeLatents(latents);
          requireFinite(pixels, pipe, (i) => {
            const { prompt } = part[i] as (typeof part)[number];
            return `for ${JSON.stringify(prompts[prompt])}, seed ${seed}`;
          });
          return quantised(pixels);
        }),
      ),
    );
    yield {
      images,
      prompts: part.map(({ prompt }) => prompt),
      numbers: part.map(({ image }) => image),
    };
  }
}

/** Real images encoded and decoded by the VAE: the closest that the generator could come to them. pixels [n, 3, h, w]. */
export function roundTrip(pipe: Pick<TextToImage, "vae">, pixels: Tensor, batch = 32): Tensor[] {
  return noGrad(() =>
    pixels.split(batch).map((part) => scope(() => quantised(pipe.vae.decode(pipe.vae.encode(part).mean)))),
  );
}
