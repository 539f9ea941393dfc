// Converts a preference set from one layout to another.

import { Ballot, convertPairs, type Layout, openPairs, type PairSource, readVotes } from "@spo/data";
import { requirePlace } from "@spo/torch/files";
import type { CommonOptions } from "../options/common-options.js";
import { openingOf, placeOf, type SetOptions } from "../options/pair-options.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, say } from "../terminal/terminal.js";
import { visibleLine } from "../terminal/visible.js";

/** Of `spo data import` and `spo data export`. */
export interface ConversionOptions extends CommonOptions, SetOptions {
  output: string;
  split?: string;
  votes?: string;
  skipBroken?: boolean;
  harden?: boolean;
  sameModel?: boolean;
  models?: string[];
}

/** Reads a set, writes it in another layout, and says what was done. */
export async function convertSet(
  paths: readonly string[],
  to: Layout,
  options: ConversionOptions,
): Promise<void> {
  requirePlace(options.output, placeOf(to));
  await convertSource(await openPairs(paths, openingOf(options)), to, options);
}

/** Writes the pairs of a source in a layout, closes it, and says what was done. */
export async function convertSource(
  source: PairSource,
  to: Layout,
  options: CommonOptions & Omit<ConversionOptions, keyof SetOptions>,
): Promise<void> {
  const { output, split, votes, skipBroken, harden, sameModel, models, json, quiet } = options;
  const bar = new ProgressBar({ quiet });
  const signal = interruptible((text) => bar.say(text));
  signal.addEventListener("abort", () => bar.say(`${output} is not written: the same command begins anew.`));
  try {
    const result = await convertPairs(source, {
      to,
      output,
      split,
      votes: votes === undefined ? undefined : new Ballot(readVotes(votes)),
      skipBroken,
      harden,
      sameModel,
      models,
      onProgress: (done, total) => {
        bar.advance({ stage: "pairs", done, total });
        signal.throwIfAborted(); // a half-written output is removed
      },
    });
    bar.end();
    if (json) putJson({ schema: "spo.conversion/1", output, ...result });
    for (const line of result.skipped.shown) say(`left out: ${visibleLine(line)}`);
    say(`${output}: ${result.written} pairs`);
  } finally {
    bar.end();
    await source.close();
  }
}
