// Noised pairs: what a preference model is trained on and measured on.
import type { PairBatch } from "@spo/data";
import type { WorkMeter } from "@spo/records";
import { cat, type Generator, scope, type Tensor } from "@spo/torch";

/** n pairs; entry i of everything belongs to pair i. */
export interface NoisedPairs {
  /** Of either side, [n, …]: what the model looks at, as it is kept in memory. */
  side0: Tensor;
  side1: Tensor;
  /** int64 [n] */
  timesteps: Tensor;
  /** What a teacher sees of either side, unit vectors [n, p]; of pairs with labels absent. */
  vector0?: Tensor;
  vector1?: Tensor;
  /** How much the teacher's vectors of such pairs vary, where they are learned. */
  spread?: readonly VectorSpread[];
  prompts: readonly string[];
  label0: readonly number[];
  /** Pairs of the prompt in the set. */
  examples: readonly number[];
}

/** How much a teacher's vectors vary, by which errors are divided: an error of 1 is that of a student that knows the mean alone. */
export interface VectorSpread {
  /** Variance of one number of a vector, over images. */
  vectors: number;
  /** Mean square of one number of the difference of the two sides of a pair. */
  differences: number;
}

/** What is random about n pairs. */
export interface PairDraws {
  timesteps: readonly number[];
  /** By what they are for; n rows each. */
  noises: Readonly<Record<string, Tensor>>;
}

/** Makes noised pairs of pairs of images, as one kind of preference model wants them. */
export interface PairNoiser {
  /** What one noised pair takes in memory. */
  readonly bytesOfPair: number;
  /** The draws of n pairs from one generator, where it draws; their timesteps too, unless they are given. */
  draw(n: number, generator: Generator, timesteps?: readonly number[]): PairDraws;
  /** Throws a UserError (`NUMERIC`) that names the pair whose sample is not finite: a model would learn from it. */
  noise(batch: PairBatch, draws: PairDraws, meter?: WorkMeter): NoisedPairs;
  /**
   * The network's input of either side, on its device and without a graph. place: of the draws of a training's augmentation; without one
   * the pairs are looked at as they are.
   */
  inputs(pairs: NoisedPairs, place?: readonly number[]): [Tensor, Tensor];
}

/** The same pairs in the CPU's memory, of which there is more than a GPU's. */
export const onCpu = (pairs: NoisedPairs): NoisedPairs =>
  scope(() => ({ ...pairs, ...mapTensors(pairs, (tensor) => tensor.to({ device: "cpu" })) }));

/** The pairs at the given places of a bank, whose parts are of one size. */
export function fromBank(bank: readonly NoisedPairs[], places: readonly number[]): NoisedPairs {
  return scope(() => {
    const at = placeIn(bank);
    const listed = <T>(of: (pairs: NoisedPairs) => readonly T[]): T[] =>
      places.map((place) => of(at(place).pairs)[at(place).row] as T);
    return {
      ...mapTensors(bank[0] as NoisedPairs, (_, name) =>
        cat(places.map((place) => (at(place).pairs[name] as Tensor).narrow(0, at(place).row, 1))),
      ),
      prompts: listed(({ prompts }) => prompts),
      label0: listed(({ label0 }) => label0),
      examples: listed(({ examples }) => examples),
    };
  });
}

/** All pairs of several lists, one below the other. */
export const joinPairs = (parts: readonly NoisedPairs[]): NoisedPairs => ({
  ...mapTensors(parts[0] as NoisedPairs, (_, name) => cat(parts.map((part) => part[name] as Tensor))),
  prompts: parts.flatMap(({ prompts }) => prompts),
  label0: parts.flatMap(({ label0 }) => label0),
  examples: parts.flatMap(({ examples }) => examples),
  ...(parts[0]?.spread && { spread: parts.flatMap(({ spread }) => spread as readonly VectorSpread[]) }),
});

/** Pairs of the prompt in the set, for the pairs at the given places of a bank. */
export const examplesOf = (bank: readonly NoisedPairs[], places: readonly number[]): number[] =>
  places.map(placeIn(bank)).map(({ pairs, row }) => pairs.examples[row] as number);

/** Draws of pairs one below the other. */
export const joinDraws = (draws: readonly PairDraws[]): PairDraws => ({
  timesteps: draws.flatMap(({ timesteps }) => timesteps),
  noises: Object.fromEntries(
    Object.keys(draws[0]?.noises ?? {}).map((name) => [
      name,
      cat(draws.map(({ noises }) => noises[name] as Tensor)),
    ]),
  ),
});

/** Frees the tensors. */
export function disposePairs(pairs: NoisedPairs): void {
  for (const name of TENSORS) pairs[name]?.dispose();
}

const placeIn = (bank: readonly NoisedPairs[]) => {
  const size = (bank[0] as NoisedPairs).prompts.length;
  return (place: number): { pairs: NoisedPairs; row: number } => ({
    pairs: bank[Math.floor(place / size)] as NoisedPairs,
    row: place % size,
  });
};

const TENSORS = ["side0", "side1", "timesteps", "vector0", "vector1"] as const;
type Tensors = Pick<NoisedPairs, (typeof TENSORS)[number]>;

const mapTensors = (pairs: Tensors, of: (tensor: Tensor, name: keyof Tensors) => Tensor): Tensors =>
  Object.fromEntries(
    TENSORS.flatMap((name) => {
      const tensor = pairs[name];
      return tensor ? [[name, of(tensor, name)]] : [];
    }),
  ) as unknown as Tensors;
