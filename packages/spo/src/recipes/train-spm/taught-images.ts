// Pairs of images that a student learns from beside the base's samples: their noised latents, with what its teacher sees in the images.
import { batchOf, type DecodedPair, type PairBatch, PairLoader, type PairSet, readRows } from "@spo/data";
import { pixelsFromBytes } from "@spo/data/pixels";
import type { WorkMeter } from "@spo/records";
import { cat, generatorAt, keep, noGrad, randint, randperm, scope, type Tensor, UserError } from "@spo/torch";
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
interface Teaching extends Pick<TrainSpmConfig, "bank" | "seed" | "readAhead"> {
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
 * Both images of a pair as latents at the noise of a timestep, with what the teacher sees in the images as they are: its vectors, or which
 * of the two it prefers. Of a noisy latent a student then learns what is to be expected of the image behind it.
 *
 * What the teacher sees does not depend on the noise, so kept pairs are shown to it once, and noised anew in each step.
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

  /** Pairs that are kept: up to `bank` of the set's. */
  get kept(): number {
    return Math.min(this.#with.bank, this.#with.set.size);
  }

  /** Shows the teacher the pairs that are kept, or enough to know how its vectors vary. Yields how many are done. */
  async *prepare(): AsyncGenerator<number> {
    const { set, side, seed, spreadOf } = this.#with;
    if (this.kept === 0) {
      const batch = await this.#loader.read(0, Math.min(CHUNK, set.size));
      this.#spread = scope(() => spreadOf?.([this.#taught(batch, this.#drawn(0, batch.prompts.length))]));
      return;
    }
    const generator = generatorAt(seed, "images kept");
    const rows = scope(() => randperm(set.size, { generator }).toNumbers()).slice(0, this.kept);
    const read = await readRows(set, rows, { side, kernel: "bicubic" });
    for (let start = 0; start < rows.length; start += CHUNK) {
      const part = rows.slice(start, start + CHUNK).map((row) => read.get(row) as DecodedPair);
      const batch = batchOf(part, side);
      this.#kept.push(keep(scope(() => onCpu(this.#taught(batch, this.#drawn(start, part.length))))));
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
        const draws = this.#drawn(first, size);
        const pairs = onCpu(
          noiser.addNoise(
            stored
              ? this.#taught(stored, draws)
              : fromBank(this.#kept, this.#places(step).slice(start, start + size)),
            draws,
          ),
        );
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

  /** Latents without noise, and what the teacher sees in the images. */
  #taught(batch: PairBatch, draws: PairDraws): NoisedPairs {
    const { noiser, pairing, side, meter } = this.#with;
    return noGrad(() =>
      scope(() => {
        const encoded = noiser.encode(batch, draws, meter);
        const { device } = encoded.side0;
        const texts = [...new Set(batch.prompts)];
        const rows = batch.prompts.map((prompt) => texts.indexOf(prompt));
        const xt = cat([encoded.side0, encoded.side1]);
        const image = (): Tensor =>
          cat([batch.image0, batch.image1].map((bytes) => pixelsFromBytes(bytes, side, { device })));
        const scorer = pairing.prepare(texts, meter);
        const scores = scorer
          .score({ xt, x0: xt, timestep: 0, image }, [...rows, ...rows], meter)
          .toNumbers();
        scorer.dispose?.();
        const odd = scores.findIndex((score) => !Number.isFinite(score));
        if (odd >= 0)
          throw new UserError(
            `The teacher gives an image of the pair ${batch.where[odd % rows.length]} no finite score.`,
            { code: "NUMERIC", hint: "Its weights are damaged, or it computes in a dtype that overflows." },
          );
        const [score0, score1] = [scores.slice(0, rows.length), scores.slice(rows.length)];
        const vectors = pairing.takeVectors?.();
        const [vector0, vector1] = vectors?.chunk(2) ?? [];
        vectors?.dispose();
        return {
          ...encoded,
          ...(vectors && { vector0, vector1 }),
          label0: score0.map((score, i) => preferenceOf(score, score1[i] as number)),
          examples: rows.map(() => 1),
        };
      }),
    );
  }
}
