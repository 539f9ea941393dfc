import { FaultList } from "./fault-list.js";
import { ImagePool } from "./image-pool.js";
import { writeFolderPairs } from "./layouts/write-folder.js";
import { writeParquetPairs } from "./layouts/write-parquet.js";
import { type ModelFilter, noneLeft, passesFilter } from "./model-filter.js";
import { faultsOfPair, type Layout, type PairSource, type PreferencePair } from "./preference.js";
import { type Ballot, withVotes } from "./votes.js";

/** Where pairs are written to, and which of them. */
export interface ConvertOptions extends ModelFilter {
  to: Layout;
  /** A file for parquet, a folder for the others. */
  output: string;
  /** Only this split; default all. */
  split?: string;
  /** Labels come from these votes; pairs without one are unjudged. */
  votes?: Ballot;
  /** Leave out pairs with a fault: wrong labels, no prompt, an image that does not decode. */
  skipBroken?: boolean;
  /** For kohya: take soft labels for wins, leave out ties and unjudged pairs. */
  harden?: boolean;
  onProgress?: (done: number, total: number) => void;
}

/** How many pairs were written, and which not. */
export interface Converted {
  written: number;
  /** Left out because of a fault, as file, row and reason. The list ends at 50, the count does not. */
  skipped: { count: number; shown: string[] };
}

/**
 * Writes pairs in another layout, streaming. What is written was checked: labels, prompts, and every image decodes.
 *
 * Throws a UserError (`DATA`) that lists all faults, unless `skipBroken`, and where no pair is left; nothing is written then.
 */
export async function convertPairs(
  source: PairSource,
  { to, output, split, votes, skipBroken = false, harden = false, onProgress, ...filter }: ConvertOptions,
): Promise<Converted> {
  const { gapScorers } = source;
  const faults = new FaultList();
  const pool = new ImagePool();
  const total = source.blocks.reduce((sum, { rows }) => sum + rows, 0);
  const models = new Set<string>();
  let [done, left] = [0, 0];

  async function* checked(): AsyncGenerator<PreferencePair> {
    for (const block of source.blocks.keys()) {
      const pairs = await source.pairs(block);
      for (let start = 0; start < pairs.length; start += 16) {
        const part = pairs.slice(start, start + 16);
        const isWanted = (pair: PreferencePair): boolean =>
          (split === undefined || pair.split === split) && passesFilter(pair, filter);
        const inspected = await Promise.all(
          part.map((pair) => (isWanted(pair) ? pool.inspect([pair.image0, pair.image1]) : [])),
        );
        for (const [i, found] of part.entries()) {
          done++;
          for (const model of [found.model0, found.model1]) if (model !== undefined) models.add(model);
          if (!isWanted(found)) continue;
          const hashes = (inspected[i] ?? []).flatMap((image) =>
            "result" in image ? [image.result.hash] : [],
          );
          const pair =
            votes && hashes.length === 2 ? withVotes(found, hashes as [string, string], votes) : found;
          const where = source.where(block, start + i);
          const before = faults.count;
          for (const fault of faultsOfPair(pair)) faults.add(where, fault);
          for (const [which, image] of (inspected[i] ?? []).entries())
            if ("fault" in image) faults.add(where, `image ${which} does not decode: ${image.fault}`);
          if (faults.count > before) continue;
          left++;
          yield pair;
        }
        onProgress?.(done, total);
      }
    }
    // The writers write whole or not at all: this undoes everything.
    if (!skipBroken) faults.throwIfAny("Nothing was written", "With --skip-broken these pairs are left out.");
    if (left === 0) noneLeft(filter, models, split);
  }

  try {
    const written =
      to === "parquet"
        ? await writeParquetPairs(output, checked(), { gapScorers })
        : await writeFolderPairs(to, output, checked(), { harden, gapScorers });
    return { written, skipped: { count: faults.count, shown: faults.shown } };
  } finally {
    await pool.close();
  }
}
