// Noised pairs for a preference model that looks at images: both images noised alike, denoised once by the frozen base, decoded. Source:
// algorithm 3c, steps 1 and 2.

import type { PairBatch } from "@spo/data";
import { move, pixelsFromBytes, recolour } from "@spo/data/pixels";
import {
  type Conditions,
  conditionBytes,
  disposeConditions,
  guidedDenoiser,
  joinRows,
  type NoiseProcess,
  requireFinite,
  selectRows,
  splitRows,
  type TextToImage,
} from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import { trainPixels } from "@spo/scorers";
import {
  cat,
  type Device,
  type Generator,
  generatorAt,
  keep,
  noGrad,
  rand,
  randint,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import type { PixelPreferenceModel } from "../../spm/pixel-preference-model.js";
import { noisyPredictions } from "../../spm/spm-noising.js";
import type { PromptCache } from "../training/prompt-cache.js";
import type { NoisedPairs, PairDraws, PairNoiser } from "./noised-pairs.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/** Which timesteps are drawn. */
export interface TimestepSettings {
  process: NoiseProcess;
  maxTimestep: number;
  cleanShare: number;
}

/**
 * n timesteps up to maxTimestep, of the process or, where they are given, of `levels`, each as likely; a share of them is 0 whatever was
 * drawn.
 */
export function drawTimesteps(
  n: number,
  { process, maxTimestep, cleanShare }: TimestepSettings,
  generator: Generator,
  levels?: readonly number[],
): number[] {
  return scope(() => {
    const clean = rand([n], { generator }).lt(cleanShare).toNumbers();
    const allowed = levels?.filter((t) => t <= maxTimestep);
    const below = Math.min(maxTimestep + 1, process.trainTimesteps);
    const drawn = allowed
      ? randint(0, allowed.length, [n], { generator })
          .toNumbers()
          .map((i) => allowed[i] as number)
      : process.drawTimesteps(n, generator, below);
    return drawn.map((t, i) => (clean[i] ? 0 : t));
  });
}

/** Encoded texts stay in memory up to so many bytes: an epoch has the same prompt several times. */
const TEXT_BYTES = 128 << 20;
/** Prompts that are encoded together. */
const TEXT_BATCH = 32;

/** How pairs are noised, and looked at in training. */
export type PixelPairSettings = Pick<
  TrainSpmConfig,
  "guidanceScale" | "maxTimestep" | "cleanShare" | "augmentation" | "pixelNoise" | "seed"
> & {
  /** Steps of a sampling whose timesteps are drawn from. Default: all of the process. */
  noiseLevels?: number | null;
  /** Where the prompts' encodings are; default: they are encoded. */
  cache?: PromptCache;
};

/** Both images of a pair are noised alike, denoised once by the base and decoded, as bytes: uint8 [n, 3, side, side]. */
export class PixelPairNoiser implements PairNoiser {
  readonly bytesOfPair: number;
  readonly #pipe: TextToImage;
  readonly #model: Pick<PixelPreferenceModel, "processor" | "device">;
  readonly #side: number;
  readonly #settings: PixelPairSettings;
  readonly #texts = new Map<string, Conditions>();
  #bytes = 0;
  #unconditional: Conditions | undefined;

  /** side: of the images, pixels. */
  constructor(
    pipe: TextToImage,
    model: Pick<PixelPreferenceModel, "processor" | "device">,
    { side, ...settings }: PixelPairSettings & { side: number },
  ) {
    this.#pipe = pipe;
    this.#model = model;
    this.#side = side;
    this.#settings = settings;
    this.bytesOfPair = 2 * 3 * side * side;
  }

  /** Each image has noise of its own for its posterior sample; one noise takes both to x_t. */
  draw(n: number, generator: Generator, given?: readonly number[]): PairDraws {
    const { process } = this.#pipe;
    const { noiseLevels } = this.#settings;
    const levels = noiseLevels ? process.timesteps(noiseLevels) : undefined;
    const timesteps = given ?? drawTimesteps(n, { process, ...this.#settings }, generator, levels);
    const side = this.#side / this.#pipe.vae.factor;
    const shape = [n, ...this.#pipe.denoiser.latentShape([side, side])];
    const noise = (): Tensor => randn(shape, { generator });
    return { timesteps, noises: { posterior0: noise(), posterior1: noise(), step: noise() } };
  }

  /**
   * At timestep 0 these are the images themselves, and nothing is computed. Throws a UserError (`NUMERIC`) that names the pair where a
   * prediction is not finite: as bytes it would be black, and a model would learn from it.
   */
  noise(batch: PairBatch, draws: PairDraws, meter?: WorkMeter): NoisedPairs {
    return noGrad(() =>
      scope(() => {
        const { timesteps } = draws;
        const { device } = this.#pipe.denoiser;
        const images = [batch.image0, batch.image1].map((bytes) =>
          pixelsFromBytes(bytes, this.#side, { device }),
        ) as [Tensor, Tensor];
        const noised = timesteps.flatMap((t, i) => (t === 0 ? [] : [i]));
        const [image0, image1] =
          noised.length > 0 ? this.#predicted(batch, images, draws, noised, meter) : images;
        for (const image of [image0, image1])
          requireFinite(
            image,
            this.#pipe,
            (i) => `of the pair ${batch.where[i]}, as the base predicts it at timestep ${timesteps[i]}`,
          );
        return {
          side0: toBytes(image0),
          side1: toBytes(image1),
          timesteps: tensor(timesteps.map(Math.round), { dtype: "int64", device }),
          prompts: batch.prompts,
          label0: batch.label0,
          examples: batch.examples,
        };
      }),
    );
  }

  /**
   * In training the same random place and size for both images of a pair; different colours and noise, so that neither being paler nor
   * being stronger is a reason to be preferred.
   */
  inputs({ side0, side1 }: NoisedPairs, place?: readonly number[]): [Tensor, Tensor] {
    const { processor, device } = this.#model;
    const { augmentation, pixelNoise, seed } = this.#settings;
    const input = (of: (bytes: Tensor, side: number) => Tensor): [Tensor, Tensor] =>
      noGrad(() =>
        scope(() => [side0, side1].map((bytes, side) => trainPixels(of(bytes, side), processor))),
      ) as [Tensor, Tensor];
    if (!place) return input((bytes) => fromBytes(bytes, device));
    const generator = generatorAt(seed, "noise", ...place);
    return input((bytes, side) => {
      let x = fromBytes(bytes, device);
      if (augmentation) {
        x = move(x, generatorAt(seed, "move", ...place), augmentation); // alike for either side
        x = recolour(x, generatorAt(seed, "recolour", ...place, side), augmentation.colour);
      }
      if (pixelNoise === 0) return x;
      const spread = rand([x.shape[0] as number, 1, 1, 1], { generator, device }).mul(pixelNoise);
      return x.add(randn(x.shape, { generator, device }).mul(spread));
    });
  }

  /** Both sides' images, those of the pairs in `noised` as the base predicts them from their noised latents. */
  #predicted(
    { prompts }: PairBatch,
    images: readonly [Tensor, Tensor],
    { timesteps, noises }: PairDraws,
    noised: readonly number[],
    meter?: WorkMeter,
  ): [Tensor, Tensor] {
    const { vae, process, denoiser: model } = this.#pipe;
    const { device } = model;
    const places = tensor([...noised], { dtype: "int64", device });
    const of = (all: Tensor | undefined): Tensor => (all as Tensor).to({ device }).indexSelect(0, places);
    const listed = <T>(all: readonly T[]): T[] => noised.map((i) => all[i] as T);
    const { conditional, rows } = this.#conditions(listed(prompts));
    const denoiser = guidedDenoiser({
      model,
      conditional,
      unconditional: this.#away(),
      guidanceScale: this.#settings.guidanceScale,
    });
    const { x0 } = noisyPredictions(
      { vae, denoiser, process },
      {
        image0: of(images[0]),
        image1: of(images[1]),
        timesteps: listed(timesteps),
        rows,
        posteriorNoise0: of(noises.posterior0),
        posteriorNoise1: of(noises.posterior1),
        noise: of(noises.step),
      },
      meter,
    );
    meter?.count("vaeDecode", 2 * noised.length);
    const decoded = vae.decodeLatents(x0).chunk(2) as [Tensor, Tensor];
    // Rows of the decoded ones among those of the images.
    const from = timesteps.map((t, i) => (t === 0 ? i : timesteps.length + noised.indexOf(i)));
    const order = tensor(from, { dtype: "int64", device });
    return images.map((image, side) => cat([image, decoded[side] as Tensor]).indexSelect(0, order)) as [
      Tensor,
      Tensor,
    ];
  }

  /** One row for each different prompt, and which row each pair has. */
  #conditions(prompts: readonly string[]): { conditional: Conditions; rows: number[] } {
    const distinct = [...new Set(prompts)];
    this.#encode(distinct);
    const sides = distinct.map((prompt) => this.#texts.get(prompt) as Conditions);
    return { conditional: joinRows(sides), rows: prompts.map((prompt) => distinct.indexOf(prompt)) };
  }

  #encode(prompts: readonly string[]): void {
    if (this.#bytes > TEXT_BYTES) this.#forget();
    const missing = prompts.filter((prompt) => !this.#texts.has(prompt));
    for (let start = 0; start < missing.length; start += TEXT_BATCH) {
      const part = missing.slice(start, start + TEXT_BATCH);
      scope(() => {
        const conditional = this.#settings.cache?.read(part) ?? this.#encoded(part).conditional;
        for (const [i, row] of splitRows(conditional).entries()) {
          this.#texts.set(part[i] as string, keep(row));
          this.#bytes += conditionBytes(row);
        }
      });
    }
  }

  #forget(): void {
    for (const row of this.#texts.values()) disposeConditions(row);
    this.#texts.clear();
    this.#bytes = 0;
  }

  /** The unconditional row of guidance, the same for all prompts. */
  #away(): Conditions {
    this.#unconditional ??= keep(
      scope(() => this.#settings.cache?.read([null]) ?? selectRows(this.#encoded([""]).unconditional, [0])),
    );
    return this.#unconditional;
  }

  #encoded(prompts: readonly string[]) {
    return this.#pipe.encode(prompts, { size: [this.#side, this.#side] });
  }
}

/** Finite pixels in [−1, 1] as bytes. */
const toBytes = (pixels: Tensor): Tensor =>
  scope(() => pixels.clamp(-1, 1).add(1).mul(127.5).round().to({ dtype: "uint8" }));

/** uint8 pixels → [−1, 1] float32. */
const fromBytes = (bytes: Tensor, device: Device): Tensor =>
  scope(() => bytes.to({ device }).to({ dtype: "float32" }).div(127.5).sub(1));
