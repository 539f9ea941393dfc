// Noised pairs, the preference model's input: both images noised alike, denoised once by the frozen base, decoded. Source: algorithm 3c,
// steps 1 and 2.

import type { PairBatch } from "@spo/data";
import { pixelsFromBytes } from "@spo/data/pixels";
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
import {
  cat,
  type Device,
  type Generator,
  keep,
  noGrad,
  rand,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { noisyPredictions } from "../../spm/spm-noising.js";

/** n pairs; entry i of everything belongs to pair i. */
export interface SeenPairs {
  /** uint8 [n, 3, side, side], decoded predictions. */
  image0: Tensor;
  image1: Tensor;
  /** int64 [n] */
  timesteps: Tensor;
  prompts: readonly string[];
  label0: readonly number[];
  /** Pairs of the prompt in the set. */
  examples: readonly number[];
}

/** What is random about n pairs. Noise [n, c, h, w] is of latents: the image's own for its posterior sample, one for both to reach t. */
export interface PairDraws {
  timesteps: readonly number[];
  posteriorNoise0: Tensor;
  posteriorNoise1: Tensor;
  noise: Tensor;
}

/** Which timesteps are drawn. */
export interface TimestepSettings {
  process: NoiseProcess;
  maxTimestep: number;
  cleanShare: number;
}

/** n timesteps of the process up to maxTimestep; a share of them is 0 whatever was drawn. */
export function drawTimesteps(
  n: number,
  { process, maxTimestep, cleanShare }: TimestepSettings,
  generator: Generator,
): number[] {
  return scope(() => {
    const clean = rand([n], { generator }).lt(cleanShare).toNumbers();
    const below = Math.min(maxTimestep + 1, process.trainTimesteps);
    return process.drawTimesteps(n, generator, below).map((t, i) => (clean[i] ? 0 : t));
  });
}

/** Encoded texts stay in memory up to so many bytes: an epoch has the same prompt several times. */
const TEXT_BYTES = 128 << 20;
/** Prompts that are encoded together. */
const TEXT_BATCH = 32;

/** Makes noised pairs of pairs of images. */
export class PairNoiser {
  readonly #pipe: TextToImage;
  readonly #side: number;
  readonly #guidanceScale: number;
  readonly #texts = new Map<string, Conditions>();
  #bytes = 0;
  #unconditional: Conditions | undefined;

  /** side: of the images, pixels. */
  constructor(pipe: TextToImage, { side, guidanceScale }: { side: number; guidanceScale: number }) {
    this.#pipe = pipe;
    this.#side = side;
    this.#guidanceScale = guidanceScale;
  }

  /** [n, c, h, w] of the latents of n images. */
  latentShape(n: number): number[] {
    const side = this.#side / this.#pipe.vae.factor;
    return [n, ...this.#pipe.denoiser.latentShape([side, side])];
  }

  /** The noises of n pairs from one generator, where it draws. */
  draw(n: number, timesteps: readonly number[], generator: Generator): PairDraws {
    const noise = (): Tensor => randn(this.latentShape(n), { generator });
    return { timesteps, posteriorNoise0: noise(), posteriorNoise1: noise(), noise: noise() };
  }

  /**
   * At timestep 0 these are the images themselves, and nothing is computed. Throws a UserError (`NUMERIC`) that names the pair where a
   * prediction is not finite: as bytes it would be black, and a model would learn from it.
   */
  see(batch: PairBatch, draws: PairDraws, meter?: WorkMeter): SeenPairs {
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
          image0: toBytes(image0),
          image1: toBytes(image1),
          timesteps: tensor([...timesteps], { dtype: "int64", device }),
          prompts: batch.prompts,
          label0: batch.label0,
          examples: batch.examples,
        };
      }),
    );
  }

  /** Both sides' images, those of the pairs in `noised` as the base predicts them from their noised latents. */
  #predicted(
    { prompts }: PairBatch,
    images: readonly [Tensor, Tensor],
    { timesteps, ...draws }: PairDraws,
    noised: readonly number[],
    meter?: WorkMeter,
  ): [Tensor, Tensor] {
    const { vae, process, denoiser: model } = this.#pipe;
    const { device } = model;
    const places = tensor([...noised], { dtype: "int64", device });
    const of = (all: Tensor): Tensor => all.to({ device }).indexSelect(0, places);
    const listed = <T>(all: readonly T[]): T[] => noised.map((i) => all[i] as T);
    const { conditional, rows } = this.#conditions(listed(prompts));
    const denoiser = guidedDenoiser({
      model,
      conditional,
      unconditional: this.#away(),
      guidanceScale: this.#guidanceScale,
    });
    const { x0 } = noisyPredictions(
      { vae, denoiser, process },
      {
        image0: of(images[0]),
        image1: of(images[1]),
        timesteps: listed(timesteps),
        rows,
        posteriorNoise0: of(draws.posteriorNoise0),
        posteriorNoise1: of(draws.posteriorNoise1),
        noise: of(draws.noise),
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
        const { conditional } = this.#pipe.encode(part, { size: [this.#side, this.#side] });
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
      scope(() => selectRows(this.#pipe.encode([""], { size: [this.#side, this.#side] }).unconditional, [0])),
    );
    return this.#unconditional;
  }
}

/** The same pairs in the CPU's memory, of which there is more than a GPU's. */
export function onCpu(seen: SeenPairs): SeenPairs {
  return scope(() => ({
    ...seen,
    ...movedTo("cpu", { image0: seen.image0, image1: seen.image1, timesteps: seen.timesteps }),
  }));
}

const movedTo = <T extends Record<string, Tensor>>(device: Device, tensors: T): T =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor.to({ device })])) as T;

/** The pairs at the given places of a bank, whose parts are of one size. */
export function fromBank(bank: readonly SeenPairs[], places: readonly number[]): SeenPairs {
  return scope(() => {
    const size = (bank[0] as SeenPairs).prompts.length;
    const at = (place: number): { seen: SeenPairs; row: number } => ({
      seen: bank[Math.floor(place / size)] as SeenPairs,
      row: place % size,
    });
    const stacked = (of: (seen: SeenPairs) => Tensor): Tensor =>
      cat(
        places.map((place) => {
          const { seen, row } = at(place);
          return of(seen).narrow(0, row, 1);
        }),
      );
    const listed = <T>(of: (seen: SeenPairs) => readonly T[]): T[] =>
      places.map((place) => {
        const { seen, row } = at(place);
        return of(seen)[row] as T;
      });
    return {
      image0: stacked((seen) => seen.image0),
      image1: stacked((seen) => seen.image1),
      timesteps: stacked((seen) => seen.timesteps),
      prompts: listed((seen) => seen.prompts),
      label0: listed((seen) => seen.label0),
      examples: listed((seen) => seen.examples),
    };
  });
}

/** Pairs of the prompt in the set, for the pairs at the given places of a bank. */
export function examplesOf(bank: readonly SeenPairs[], places: readonly number[]): number[] {
  const size = (bank[0] as SeenPairs).prompts.length;
  return places.map((place) => bank[Math.floor(place / size)]?.examples[place % size] as number);
}

/** Draws of pairs one below the other. */
export function joinDraws(draws: readonly PairDraws[]): PairDraws {
  const joined = (of: (draw: PairDraws) => Tensor): Tensor => cat(draws.map(of));
  return {
    timesteps: draws.flatMap(({ timesteps }) => timesteps),
    posteriorNoise0: joined((draw) => draw.posteriorNoise0),
    posteriorNoise1: joined((draw) => draw.posteriorNoise1),
    noise: joined((draw) => draw.noise),
  };
}

/** Finite pixels in [−1, 1] as bytes. */
const toBytes = (pixels: Tensor): Tensor =>
  scope(() => pixels.clamp(-1, 1).add(1).mul(127.5).round().to({ dtype: "uint8" }));
