import { PairLoader, type PairLoaderOptions, type PairSet } from "@spo/data";
import { generatorAt, keep, noGrad, scope } from "@spo/torch";
import type { PreferenceModel } from "../../spm/preference-model.js";
import { AccuracyByTimestep } from "./accuracy-by-timestep.js";
import { disposePairs, type NoisedPairs, type PairNoiser } from "./noised-pairs.js";
import type { Accuracy } from "./spm-source.js";
import type { Labelled } from "./training-pairs.js";

/** Noised held-out pairs stay in memory up to so many bytes; beyond, they are noised anew for each measurement. */
const HELD_BYTES = 1 << 29;

/** What a measurement is made with. */
interface Measuring {
  set: PairSet;
  reading: PairLoaderOptions;
  timesteps: readonly number[];
  /** Pairs noised at a time. */
  chunk: number;
  seed: number;
  noiser: PairNoiser;
  labelled: Labelled;
  /** Pairs whose label is ½ do not count. */
  withoutTies: boolean;
  /** Told of pairs at timesteps. */
  onNoised: (done: number, total: number) => void;
}

interface AtTimestep {
  t: number;
  pairs: NoisedPairs;
}

/** Share of held-out pairs whose preferred image has the higher score, by timestep; with the same noise each time. */
export class HeldOutAccuracy implements Accuracy {
  readonly #with: Measuring;
  #held: AtTimestep[] | undefined;

  constructor(measuring: Measuring) {
    this.#with = measuring;
  }

  /** Noises the pairs, where they may stay in memory. */
  async prepare(): Promise<void> {
    const { set, timesteps, noiser } = this.#with;
    if (set.size * timesteps.length * noiser.bytesOfPair > HELD_BYTES) return;
    const held: AtTimestep[] = [];
    for await (const found of this.#noised()) held.push(found);
    this.#held = held;
  }

  /** By `accuracy/t=…`; NaN where no pair counts, or a score is not finite. onPairs: told of pairs at timesteps. */
  async measure(
    model: PreferenceModel,
    onPairs: (done: number, total: number) => void,
  ): Promise<Record<string, number>> {
    const { set, timesteps, noiser, withoutTies } = this.#with;
    const found = new AccuracyByTimestep(timesteps, { withoutTies });
    const total = set.size * timesteps.length;
    let done = 0;
    onPairs(done, total);
    for await (const { t, pairs } of this.#held ?? this.#noised()) {
      const [score0, score1] = scoresOf(model, noiser, pairs);
      found.add(t, { score0, score1, label0: pairs.label0 });
      done += pairs.label0.length;
      onPairs(done, total);
      if (!this.#held) disposePairs(pairs);
    }
    return found.metrics();
  }

  async *#noised(): AsyncGenerator<AtTimestep> {
    const { set, reading, timesteps, chunk, seed, noiser, labelled, onNoised } = this.#with;
    const unread = new PairLoader(set, reading);
    try {
      for (let start = 0; start < set.size; start += chunk) {
        const batch = await labelled(await unread.read(start, Math.min(chunk, set.size - start)));
        for (const t of timesteps) {
          const n = batch.prompts.length;
          const generator = generatorAt(seed, "eval", t, start);
          // Not counted: measuring does not count as the training's work.
          onNoised(start, set.size);
          yield {
            t,
            pairs: keep(
              scope(() => noiser.noise(batch, noiser.draw(n, generator, Array<number>(n).fill(t)))),
            ),
          };
        }
      }
    } finally {
      await unread.close();
    }
  }
}

/** Scores of both sides of every pair, as they are. */
function scoresOf(model: PreferenceModel, noiser: PairNoiser, pairs: NoisedPairs): [number[], number[]] {
  return noGrad(() =>
    scope(() => {
      const timesteps = pairs.timesteps.to({ device: model.device });
      const texts = model.encode(pairs.prompts);
      return noiser.inputs(pairs).map((input) => model.score(input, timesteps, texts).toNumbers());
    }),
  ) as [number[], number[]];
}
