import { seedAt } from "@spo/torch/seed";
import { FaultList } from "./fault-list.js";
import { type Decoded, ImagePool } from "./image-pool.js";
import type { Kernel, Pixels } from "./image-worker.js";
import { largeBytes } from "./large-bytes.js";
import { type EpochOrder, epochOrder, type Place, type Window } from "./order.js";
import type { PairSet, TrainingPair } from "./pair-set.js";

/** Order, size and preprocessing of the pairs that a training reads. */
export interface PairLoaderOptions {
  /** Of the order and the mirroring; null: the order of the data, nothing mirrored. */
  seed: number | null;
  /** Pixels of a side: short side to this, then a centre crop. */
  side: number;
  /** SPM: bicubic; Diffusion-DPO: bilinear. */
  kernel: Kernel;
  /** Mirror each image of each pair with probability ½, the two of a pair apart. */
  mirror?: boolean;
  /** Stored images that are in memory together and mixed. */
  windowBytes?: number;
  /** Decoded images that wait for their turn. */
  aheadBytes?: number;
  /** Threads that decode. */
  workers?: number;
  /** How processes share the positions; what another process reads is not decoded ahead. Default: this one reads all. */
  share?: ReadingShare;
}

/** What one of several processes reads of the positions. */
export interface ReadingShare {
  processes: number;
  isMine(position: number): boolean;
}

const ALL: ReadingShare = { processes: 1, isMine: () => true };

/** Pairs: small images would be decoded by the ten thousand before the first batch is there. */
const MOST_AHEAD = 128;

/** Pairs with decoded images; entry i of everything belongs to pair i. */
export interface PairBatch {
  prompts: string[];
  label0: number[];
  label1: number[];
  /** Pairs of the prompt in the set. */
  examples: number[];
  /** RGB bytes, [n, side, side, 3]. */
  image0: Uint8Array;
  image1: Uint8Array;
  side: number;
  /** File and row. */
  where: string[];
}

interface Waiting {
  /** Without the stored images: those would hold their whole row group. */
  pair: Omit<TrainingPair, "image0" | "image1">;
  images: Promise<Decoded<Pixels>[]>;
}

/**
 * Pairs by position: what stands at a position depends on the seed, the epoch and the position alone, so a resumed run needs no reader
 * state. Positions count on over the epochs. Reading on from where the last call ended finds the images decoded already.
 */
export class PairLoader {
  readonly #set: PairSet;
  readonly #options: Required<Omit<PairLoaderOptions, "workers">>;
  readonly #pool: ImagePool;
  /** Decoding or decoded, by position; contiguous. */
  readonly #waiting = new Map<number, Promise<Waiting>>();
  readonly #epochs = new Map<number, EpochOrder>();
  readonly #orders = new Map<string, Window>();
  readonly #windows = new Map<string, Promise<{ pairs: TrainingPair[] }>>();

  constructor(set: PairSet, options: PairLoaderOptions) {
    this.#set = set;
    this.#options = { mirror: false, windowBytes: 48 << 20, aheadBytes: 32 << 20, share: ALL, ...options };
    this.#pool = new ImagePool(options.workers);
  }

  /** Pairs in one epoch. */
  get size(): number {
    return this.#set.size;
  }

  /** How many pairs the prompts of these positions have, without reading anything. */
  examples(start: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.#set.examplesAt(this.#placeAt(start + i).place));
  }

  /** Pairs at positions start … start + count − 1. Throws a UserError (`DATA`) that lists the images which do not decode. */
  async read(start: number, count: number): Promise<PairBatch> {
    const { side, share } = this.#options;
    // Together the processes go through the positions as many times as fast: each looks as much further ahead.
    const ahead =
      Math.min(MOST_AHEAD, Math.ceil(this.#options.aheadBytes / (6 * side * side))) * share.processes;
    for (const position of this.#waiting.keys())
      if (position < start || position >= start + count + ahead) this.#waiting.delete(position);
    const wanted = Array.from({ length: count }, (_, i) => this.#ask(start + i));
    for (let i = start + count; i < start + count + ahead; i++) if (share.isMine(i)) this.#ask(i);
    const batch: PairBatch = {
      prompts: [],
      label0: [],
      label1: [],
      examples: [],
      image0: largeBytes(3 * side * side * count),
      image1: largeBytes(3 * side * side * count),
      side,
      where: [],
    };
    const faults = new FaultList();
    for (const [i, promise] of wanted.entries()) {
      const { pair, images } = await promise;
      this.#waiting.delete(start + i);
      batch.prompts.push(pair.prompt);
      batch.label0.push(pair.label0);
      batch.label1.push(pair.label1);
      batch.examples.push(pair.examples);
      batch.where.push(pair.where);
      for (const [which, decoded] of (await images).entries()) {
        if ("fault" in decoded)
          faults.add(`${pair.where}, image ${which}`, `does not decode: ${decoded.fault}`);
        else (which === 0 ? batch.image0 : batch.image1).set(decoded.result, 3 * side * side * i);
      }
    }
    faults.throwIfAny(
      "The preference set has broken images",
      "npx spo data check lists all of them; npx spo data export --skip-broken writes a set without them.",
    );
    return batch;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#waiting.values());
    this.#waiting.clear();
    this.#windows.clear();
    await this.#pool.close();
  }

  #ask(position: number): Promise<Waiting> {
    const known = this.#waiting.get(position);
    if (known) return known;
    const asked = this.#decode(position);
    asked.catch(() => {}); // told of when its turn comes
    this.#waiting.set(position, asked);
    return asked;
  }

  async #decode(position: number): Promise<Waiting> {
    const { seed, side, kernel, mirror } = this.#options;
    const { image0, image1, ...pair } = await this.#pairAt(position);
    const isMirrored = (which: number): boolean =>
      mirror && seed !== null && seedAt(seed, "mirror", position, which) % 2 === 1;
    const images = this.#pool.pixels([image0, image1], {
      side,
      kernel,
      mirrored: [isMirrored(0), isMirrored(1)],
    });
    images.catch(() => {}); // awaited when its turn comes
    return { pair, images };
  }

  async #pairAt(position: number): Promise<TrainingPair> {
    const { epoch, window, index } = this.#placeAt(position);
    const { pairs } = await this.#window(epoch, window);
    return pairs[index] as TrainingPair;
  }

  /** Where a position lies: its window in the epoch's order, its index there, and its place in the set. */
  #placeAt(position: number): { epoch: number; window: number; index: number; place: Place } {
    const epoch = Math.floor(position / this.size);
    const order = this.#epoch(epoch);
    const window = order.windowOf(position % this.size);
    const { start, places } = this.#mixed(epoch, window);
    const index = (position % this.size) - start;
    return { epoch, window, index, place: places[index] as Place };
  }

  /** A window with its places in order. Making it means mixing all of them, so the last two are kept. */
  #mixed(epoch: number, window: number): Window {
    const key = `${epoch}/${window}`;
    const known = this.#orders.get(key);
    if (known) return known;
    for (const old of [...this.#orders.keys()].slice(0, -1)) this.#orders.delete(old);
    const made = this.#epoch(epoch).window(window);
    this.#orders.set(key, made);
    return made;
  }

  #epoch(epoch: number): EpochOrder {
    const known = this.#epochs.get(epoch);
    if (known) return known;
    for (const old of this.#epochs.keys()) if (old < epoch - 1 || old > epoch + 1) this.#epochs.delete(old);
    const { seed, windowBytes } = this.#options;
    const order = epochOrder(this.#set.blocks, { seed, epoch, windowBytes });
    this.#epochs.set(epoch, order);
    return order;
  }

  #window(epoch: number, index: number): Promise<{ pairs: TrainingPair[] }> {
    const key = `${epoch}/${index}`;
    const known = this.#windows.get(key);
    if (known) return known;
    this.#windows.clear(); // reading goes forwards; who still waits for the one before holds it
    const loaded = this.#load(this.#mixed(epoch, index));
    loaded.catch(() => this.#windows.delete(key));
    this.#windows.set(key, loaded);
    return loaded;
  }

  async #load({ places }: Window): Promise<{ pairs: TrainingPair[] }> {
    const blocks = new Map<number, TrainingPair[]>();
    for (const block of new Set(places.map(({ block }) => block)))
      blocks.set(block, await this.#set.pairs(block));
    return { pairs: places.map(({ block, row }) => blocks.get(block)?.[row] as TrainingPair) };
  }
}
