// Pairs of images that a student learns from beside the base's samples: their noised latents, with what its teacher sees in the images.
import { batchOf, type DecodedPair, type PairBatch, PairLoader, type PairSet, readRows } from "@spo/data";
import { move, pixelsFromBytes, recolour } from "@spo/data/pixels";
import { guidedDenoiser, type TextToImage } from "@spo/diffusion";
import type { WorkMeter } from "@spo/records";
import {
  cat,
  generatorAt,
  keep,
  noGrad,
  randint,
  randperm,
  scope,
  type Tensor,
  tensor,
  UserError,
} from "@spo/torch";
import { type Candidates, JUDGE_CHUNK } from "../../judges/judge.js";
import { type Distillation, type Pairing, preferenceOf } from "./distillation.js";
import type { LatentPairNoiser } from "./latent-pair-noiser.js";
import {
  disposePairs,
  fromBank,
  joinDraws,
  type NoisedPairs,
  onCpu,
  type PairDraws,
  type VectorSpread,
} from "./noised-pairs.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/** Pairs that the teacher is shown at a time, where they are kept; and those that are looked at beforehand, where they are not. */
const CHUNK = 64;

/** What pairs of images are taught with. */
interface Teaching
  extends Pick<
    TrainSpmConfig,
    "bank" | "seed" | "readAhead" | "imageTarget" | "augmentation" | "guidanceScale"
  > {
  pipe: TextToImage;
  set: PairSet;
  noiser: LatentPairNoiser;
  pairing: Pairing;
  /** Asked of the kept pairs, or of the first ones where none are kept. */
  spreadOf?: Distillation["spreadOf"];
  /** Of the images, pixels. */
  side: number;
  /** Pairs of one step. */
  batch: number;
  meter: WorkMeter;
}

/**
 * Both images of a pair as latents at the noise of a timestep, with what the teacher sees in the images: its vectors, or which of the two
 * it prefers. Of a noisy latent a student then learns what is to be expected of the image behind it.
 *
 * What the teacher sees of clean images does not depend on the noise, so kept pairs are shown to it once, and noised anew in each step. Of
 * predicted ones it does: kept pairs keep their noise. With augmentation, or predicted, an image of a small set is kept several times.
 */
export class TaughtImages {
  readonly #with: Teaching;
  readonly #loader: PairLoader;
  readonly #kept: NoisedPairs[] = [];
  #spread: VectorSpread | undefined;

  constructor(teaching: Teaching) {
    this.#with = teaching;
    const { set, seed, side, readAhead } = teaching;
    this.#loader = new PairLoader(set, { seed, side, kernel: "bicubic", aheadBytes: readAhead * 2 ** 20 });
  }

  /** Pairs that are kept: `bank`, and no pair twice where it would be the same. */
  get kept(): number {
    const { bank, set, augmentation } = this.#with;
    return augmentation || this.#keepsNoise ? bank : Math.min(bank, set.size);
  }

  /** Shows the teacher the pairs that are kept, or enough to know how its vectors vary. Yields how many are done. */
  async *prepare(): AsyncGenerator<number> {
    const { set, side, seed, spreadOf } = this.#with;
    if (this.kept === 0) {
      const batch = await this.#loader.read(0, Math.min(CHUNK, set.size));
      this.#spread = scope(() => spreadOf?.([this.#taught(batch, 0)]));
      return;
    }
    const generator = generatorAt(seed, "images kept");
    const order = scope(() => randperm(set.size, { generator }).toNumbers());
    const rows = Array.from({ length: this.kept }, (_, i) => order[i % set.size] as number);
    const read = await readRows(set, rows, { side, kernel: "bicubic" });
    for (let start = 0; start < rows.length; start += CHUNK) {
      const part = rows.slice(start, start + CHUNK).map((row) => read.get(row) as DecodedPair);
      const batch = batchOf(part, side);
      this.#kept.push(keep(scope(() => onCpu(this.#taught(batch, start)))));
      yield start + part.length;
    }
    this.#spread = spreadOf?.(this.#kept);
  }

  /** `size` pairs of a step, from `start` on, to be noised in the caller's scope. */
  async read(step: number, start: number, size: number): Promise<() => NoisedPairs> {
    const { batch, noiser } = this.#with;
    const first = step * batch + start;
    const stored = this.kept > 0 ? undefined : await this.#loader.read(first, size);
    return () =>
      scope(() => {
        const taught = stored
          ? this.#taught(stored, first)
          : fromBank(this.#kept, this.#places(step).slice(start, start + size));
        const pairs = onCpu(this.#keepsNoise ? taught : noiser.addNoise(taught, this.#drawn(first, size)));
        const spread = this.#spread;
        return { ...pairs, ...(spread && { spread: pairs.prompts.map(() => spread) }) };
      });
  }

  async close(): Promise<void> {
    for (const part of this.#kept.splice(0)) disposePairs(part);
    await this.#loader.close();
    await this.#with.set.close();
  }

  /** Which of the kept pairs a step has. */
  #places(step: number): number[] {
    const { batch, seed } = this.#with;
    return randint(0, this.kept, [batch], { generator: generatorAt(seed, "images", step) }).toNumbers();
  }

  /** What is drawn for pairs at the positions from `first` on. */
  #drawn(first: number, size: number): PairDraws {
    const { noiser, seed } = this.#with;
    return joinDraws(
      Array.from({ length: size }, (_, i) => noiser.draw(1, generatorAt(seed, "image", first + i))),
    );
  }

  /** Whether what the teacher sees is of one noise. */
  get #keepsNoise(): boolean {
    return this.#with.imageTarget === "predicted";
  }

  /** Both images of each pair as pixels, changed as is drawn for pairs at the positions from `first` on. */
  #images({ image0, image1 }: PairBatch, first: number): [Tensor, Tensor] {
    const { side, seed, augmentation, pipe } = this.#with;
    return [image0, image1].map((bytes, which) => {
      const pixels = pixelsFromBytes(bytes, side, { device: pipe.denoiser.device });
      if (!augmentation) return pixels;
      const changed = pixels.split(1).map((image, i) => {
        const moved = move(image, generatorAt(seed, "image moved", first + i), augmentation); // alike for either image
        const colours = generatorAt(seed, "image recoloured", first + i, which);
        return recolour(moved, colours, augmentation.colour).clamp(-1, 1);
      });
      return cat(changed);
    }) as [Tensor, Tensor];
  }

  /** Latents of pairs at the positions from `first` on, with what the teacher sees; latents of clean images are without noise. */
  #taught(batch: PairBatch, first: number): NoisedPairs {
    const { noiser, pairing, meter } = this.#with;
    return noGrad(() =>
      scope(() => {
        const draws = this.#drawn(first, batch.prompts.length);
        const images = this.#images(batch, first);
        const encoded = noiser.encode(batch, draws, meter, images);
        const shown = this.#keepsNoise ? noiser.addNoise(encoded, draws) : encoded;
        const texts = [...new Set(batch.prompts)];
        const rows = batch.prompts.map((prompt) => texts.indexOf(prompt));
        const both = [...rows, ...rows];
        const xt = cat([shown.side0, shown.side1]);
        const scorer = pairing.prepare(texts, meter);
        const timesteps = [...draws.timesteps, ...draws.timesteps];
        const parts = this.#keepsNoise
          ? this.#predictions(xt, { texts, rows: both, timesteps })
          : [{ places: both.map((_, i) => i), seen: { xt, x0: xt, timestep: 0, image: () => cat(images) } }];
        const order: number[] = []; // of the rows, as the teacher sees them
        const scores: number[] = [];
        for (const { places, seen } of parts) {
          const own = places.map((place) => both[place] as number);
          const found = scorer.score(seen, own, meter).toNumbers();
          for (const [i, place] of places.entries()) scores[place] = found[i] as number;
          order.push(...places);
        }
        scorer.dispose?.();
        const odd = scores.findIndex((score) => !Number.isFinite(score));
        if (odd >= 0)
          throw new UserError(
            `The teacher gives an image of the pair ${batch.where[odd % rows.length]} no finite score.`,
            { code: "NUMERIC", hint: "Its weights are damaged, or it computes in a dtype that overflows." },
          );
        const [score0, score1] = [scores.slice(0, rows.length), scores.slice(rows.length)];
        const vectors = pairing.takeVectors?.();
        const back = tensor(
          order.map((_, place) => order.indexOf(place)),
          { dtype: "int64" },
        );
        const [vector0, vector1] = vectors?.indexSelect(0, back).chunk(2) ?? [];
        vectors?.dispose();
        return {
          ...shown,
          ...(vectors && { vector0, vector1 }),
          label0: score0.map((score, i) => preferenceOf(score, score1[i] as number)),
          examples: rows.map(() => 1),
        };
      }),
    );
  }

  /** What the base predicts of noisy latents, a few of one timestep at a time, and which of the rows they are. */
  *#predictions(
    xt: Tensor,
    {
      texts,
      rows,
      timesteps,
    }: { texts: readonly string[]; rows: readonly number[]; timesteps: readonly number[] },
  ): Generator<{ places: number[]; seen: Candidates }> {
    const { pipe, side, guidanceScale, meter } = this.#with;
    const { vae, process, denoiser: model } = pipe;
    const { device } = model;
    const denoiser = guidedDenoiser({ model, ...pipe.encode(texts, { size: [side, side] }), guidanceScale });
    for (const timestep of new Set(timesteps)) {
      const all = timesteps.flatMap((t, i) => (t === timestep ? [i] : []));
      for (let start = 0; start < all.length; start += JUDGE_CHUNK) {
        const places = all.slice(start, start + JUDGE_CHUNK);
        const noisy = xt.indexSelect(0, tensor(places, { dtype: "int64", device }));
        const at = places.map(() => timestep);
        const predicted = (): Tensor => {
          meter.count("unetReference", places.length * denoiser.samplePasses);
          const own = denoiser.forRows(places.map((place) => rows[place] as number));
          return process.predict(noisy, own(noisy, tensor(at, { device })), at).x0;
        };
        const x0 = timestep === 0 ? noisy : predicted();
        const image = (): Tensor => {
          meter.count("vaeDecode", places.length);
          return vae.decodeLatents(x0);
        };
        yield { places, seen: { xt: noisy, x0, timestep, image } };
      }
    }
  }
}
