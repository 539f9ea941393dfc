// The noised pairs of a training's steps: new ones from a stream, or a bank's, which were drawn and noised once.
import {
  batchOf,
  type DecodedPair,
  type PairBatch,
  type PairLoader,
  type PairLoaderOptions,
  type PairSet,
  readRows,
} from "@spo/data";
import type { WorkMeter } from "@spo/records";
import { type Generator, generatorAt, keep, randint, scope } from "@spo/torch";
import {
  examplesOf,
  fromBank,
  joinDraws,
  type NoisedPairs,
  onCpu,
  type PairDraws,
  type PairNoiser,
} from "./noised-pairs.js";

/** Gives the same pairs other labels, where a training asks for it. */
export type Labelled = (batch: PairBatch, meter?: WorkMeter) => Promise<PairBatch>;

/** The pairs of one step. */
export interface StepPairs {
  /** Of each pair: how many pairs its prompt has in the set. */
  examples: readonly number[];
  /** Reads `size` of them from `start` on, to be noised in the caller's scope. */
  read(start: number, size: number): Promise<() => NoisedPairs>;
}

/** What pairs are made with. */
interface Making {
  noiser: PairNoiser;
  labelled: Labelled;
  batch: number;
  seed: number;
  meter: WorkMeter;
}

/** Pairs of a stream: what is drawn for one depends on its position alone. */
export function pairStream(loader: PairLoader, { noiser, labelled, batch, seed, meter }: Making) {
  const drawAt = (position: number): PairDraws => noiser.draw(1, generatorAt(seed, "pair", position));
  return (step: number): StepPairs => ({
    examples: loader.examples(step * batch, batch),
    read: async (start, size) => {
      const first = step * batch + start;
      const read = await labelled(await loader.read(first, size), meter);
      return () =>
        scope(() => {
          const draws = joinDraws(read.prompts.map((_, i) => drawAt(first + i)));
          return noiser.noise(read, draws, meter);
        });
    },
  });
}

/** Pairs of a bank: which ones a step has depends on its number alone. */
export const pairsOfBank =
  (bank: readonly NoisedPairs[], { batch, seed }: Pick<Making, "batch" | "seed">) =>
  (step: number): StepPairs => {
    const places = drawRows(bank.length * batch, batch, generatorAt(seed, "step", step));
    return {
      examples: examplesOf(bank, places),
      read: async (start, size) => () => fromBank(bank, places.slice(start, start + size)),
    };
  };

/** Random pairs at random timesteps, in parts of one batch, on the CPU; as many parts as hold `count` pairs. */
export async function* drawBank(
  {
    set,
    reading,
    count,
  }: { set: PairSet; reading: Pick<PairLoaderOptions, "side" | "kernel">; count: number },
  { noiser, labelled, batch, seed, meter }: Making,
): AsyncGenerator<NoisedPairs> {
  const parts = Array.from({ length: Math.ceil(count / batch) }, (_, i) => {
    const generator = generatorAt(seed, "bank", i * batch);
    return { generator, rows: drawRows(set.size, batch, generator) };
  });
  if (parts.length === 0) return;
  const all = parts.flatMap(({ rows }) => rows);
  const pairs = await readRows(set, all, reading);
  for (const { generator, rows } of parts) {
    const read = rows.map((row) => pairs.get(row) as DecodedPair);
    const labels = await labelled(batchOf(read, reading.side), meter);
    yield keep(scope(() => onCpu(noiser.noise(labels, noiser.draw(rows.length, generator), meter))));
  }
}

const drawRows = (count: number, n: number, generator: Generator): number[] =>
  scope(() => randint(0, count, [n], { generator }).toNumbers());
