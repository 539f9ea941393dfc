import { FaultList } from "./fault-list.js";
import { ImagePool } from "./image-pool.js";
import { faultsOfPair, isTie, type PairSource } from "./preference.js";

/** The findings of a check of every pair of a set. */
export interface PairReport {
  layout: string;
  pairs: number;
  splits: Record<string, number>;
  labels: {
    /** Somebody has judged them. */
    labelled: number;
    ties: number;
    /** Neither 0, ½ nor 1. */
    soft: number;
    /** Judged pairs without ties, by the side that has the larger label. Far from even, position is part of the label. */
    firstWins: number;
    secondWins: number;
  };
  prompts: {
    distinct: number;
    /** Letters. */
    length: Spread;
    /** Pairs a prompt. */
    pairs: Spread;
    /** Where the data says a number of pairs of the prompt, and it is another one. */
    wrongCounts: number;
  };
  /** Of the pairs that name the models of both images: how many are by one, and how many by which two. */
  models: { named: number; same: number; pairs: Record<string, number> };
  images: {
    decoded: number;
    broken: number;
    distinct: number;
    /** `512×512` → how many. */
    sizes: Record<string, number>;
    formats: Record<string, number>;
  };
  duplicates: {
    /** Pairs of the same prompt and images as one before, whichever way round. */
    pairs: number;
    /** Pairs whose two images are one, and which do not say so. */
    sides: number;
    shown: string[];
  };
  /** Prompts and images in more than one split, which make a test too easy. */
  leaks: { prompts: number; images: number; shown: string[] };
  /** Pairs that cannot be trained on. */
  faults: { count: number; shown: string[] };
}

/** Least, middle and largest of a list of numbers, in the unit of what was measured. */
export interface Spread {
  min: number;
  median: number;
  max: number;
}

/** Looks at every pair of a source, decoding every image. Holds a hash for each image and each prompt, no image. */
export async function checkPairs(
  source: PairSource,
  { onProgress }: { onProgress?: (done: number, total: number) => void } = {},
): Promise<PairReport> {
  const total = source.blocks.reduce((sum, { rows }) => sum + rows, 0);
  const pool = new ImagePool();
  const faults = new FaultList();
  const duplicates = new FaultList(20, { isGrouped: false });
  const leaks = new FaultList(20, { isGrouped: false });
  const splits = new Map<string, number>();
  const sizes = new Map<string, number>();
  const formats = new Map<string, number>();
  const prompts = new Map<string, { pairs: number; says: Set<number>; splits: Set<string>; where: string }>();
  const images = new Map<string, { splits: Set<string>; where: string }>();
  const pairs = new Map<string, string>();
  const byModels = new Map<string, number>();
  const labels = { labelled: 0, ties: 0, soft: 0, firstWins: 0, secondWins: 0 };
  const counts = { pairs: 0, decoded: 0, broken: 0, sameSides: 0, samePairs: 0 };

  try {
    for (const block of source.blocks.keys()) {
      const rows = await source.pairs(block);
      const inspected = await Promise.all(rows.map(({ image0, image1 }) => pool.inspect([image0, image1])));
      for (const [row, pair] of rows.entries()) {
        const where = source.where(block, row);
        counts.pairs++;
        add(splits, pair.split);
        if (pair.model0 !== undefined && pair.model1 !== undefined)
          add(byModels, [pair.model0, pair.model1].sort().join(" / "));
        for (const fault of faultsOfPair(pair)) faults.add(where, fault);
        if (pair.labelled) {
          labels.labelled++;
          if (isTie(pair)) labels.ties++;
          else if (pair.label0 > pair.label1) labels.firstWins++;
          else if (pair.label1 > pair.label0) labels.secondWins++;
          if (![0, 0.5, 1].includes(pair.label0)) labels.soft++;
        }
        const prompt = prompts.get(pair.prompt) ?? { pairs: 0, says: new Set(), splits: new Set(), where };
        prompt.pairs++;
        if (pair.examples !== undefined) prompt.says.add(pair.examples);
        prompt.splits.add(pair.split);
        prompts.set(pair.prompt, prompt);
        const hashes: string[] = [];
        for (const [which, image] of (inspected[row] ?? []).entries()) {
          if ("fault" in image) {
            counts.broken++;
            faults.add(where, `image ${which} does not decode: ${image.fault}`);
            continue;
          }
          counts.decoded++;
          const { width, height, format, hash } = image.result;
          hashes.push(hash);
          add(sizes, `${width}×${height}`);
          add(formats, format);
          const known = images.get(hash) ?? { splits: new Set(), where: `${where}, image ${which}` };
          known.splits.add(pair.split);
          images.set(hash, known);
        }
        if (hashes.length < 2) continue;
        if (hashes[0] === hashes[1] && pair.different) {
          counts.sameSides++;
          duplicates.add(where, "its two images are the same");
        }
        const key = JSON.stringify([pair.prompt, ...hashes.sort()]);
        const before = pairs.get(key);
        if (before === undefined) pairs.set(key, where);
        else {
          counts.samePairs++;
          duplicates.add(where, `the same pair as ${before}`);
        }
      }
      onProgress?.(counts.pairs, total);
    }
  } finally {
    await pool.close();
  }

  const shared = <T extends { splits: Set<string> }>(known: Map<string, T>): [string, T][] =>
    [...known].filter(([, { splits: in_ }]) => in_.size > 1);
  const [leakedPrompts, leakedImages] = [shared(prompts), shared(images)];
  for (const [prompt, { splits: in_ }] of leakedPrompts)
    leaks.add(`prompt ${JSON.stringify(prompt.slice(0, 80))}`, `in ${[...in_].join(" and ")}`);
  for (const [, { splits: in_, where }] of leakedImages) leaks.add(where, `in ${[...in_].join(" and ")}`);

  return {
    layout: source.layout,
    pairs: counts.pairs,
    splits: Object.fromEntries(splits),
    labels,
    prompts: {
      distinct: prompts.size,
      length: spread([...prompts.keys()].map((prompt) => prompt.length)),
      pairs: spread([...prompts.values()].map((prompt) => prompt.pairs)),
      wrongCounts: [...prompts.values()].filter(
        ({ says, pairs: n }) => says.size > 0 && !(says.size === 1 && says.has(n)),
      ).length,
    },
    models: {
      named: [...byModels.values()].reduce((sum, count) => sum + count, 0),
      same: [...byModels].reduce((sum, [name, count]) => sum + (isOneModel(name) ? count : 0), 0),
      pairs: largestFirst(byModels),
    },
    images: {
      decoded: counts.decoded,
      broken: counts.broken,
      distinct: images.size,
      sizes: largestFirst(sizes),
      formats: largestFirst(formats),
    },
    duplicates: { pairs: counts.samePairs, sides: counts.sameSides, shown: duplicates.shown },
    leaks: { prompts: leakedPrompts.length, images: leakedImages.length, shown: leaks.shown },
    faults: { count: faults.count, shown: faults.shown },
  };
}

const add = (counts: Map<string, number>, key: string): void =>
  void counts.set(key, (counts.get(key) ?? 0) + 1);

const isOneModel = (names: string): boolean => {
  const half = (names.length - 3) / 2;
  return names.slice(0, half) === names.slice(half + 3);
};

const largestFirst = (counts: ReadonlyMap<string, number>): Record<string, number> =>
  Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));

function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number): number => sorted[i] ?? 0;
  return { min: at(0), median: at(Math.floor((sorted.length - 1) / 2)), max: at(sorted.length - 1) };
}
