// What the commands about preference sets share.
import { requirePlace } from "@spo/torch/files";
import { Option } from "commander";
import { LAYOUTS, type Layout } from "spo/data";
import type { CommonOptions } from "../program.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, say } from "../terminal/terminal.js";

export interface SetOptions {
  layout?: Layout;
}

export const layoutOption = (): Option =>
  new Option("--layout <layout>", "of what is read; default: seen from the files' names").choices(LAYOUTS);

export interface ConversionOptions extends CommonOptions, SetOptions {
  output: string;
  split?: string;
  votes?: string;
  skipBroken?: boolean;
  harden?: boolean;
}

/** Whether a set in this layout is one file or a folder. */
export const placeOf = (layout: Layout | "votes"): "file" | "folder" =>
  layout === "parquet" || layout === "votes" ? "file" : "folder";

/** Reads a set, writes it in another layout, and says what was done. */
export async function convert(
  paths: readonly string[],
  to: Layout,
  { layout, output, split, votes, skipBroken, harden, json, quiet }: ConversionOptions,
): Promise<void> {
  requirePlace(output, placeOf(to));
  const { Ballot, convertPairs, openPairs, readVotes } = await import("spo/data");
  const ballot = votes === undefined ? undefined : new Ballot(readVotes(votes));
  const bar = new ProgressBar({ quiet });
  const signal = interruptible((text) => bar.say(text));
  signal.addEventListener("abort", () => bar.say(`${output} is not written: the same command begins anew.`));
  const source = await openPairs(paths, { layout });
  try {
    const result = await convertPairs(source, {
      to,
      output,
      split,
      votes: ballot,
      skipBroken,
      harden,
      onProgress: (done, total) => {
        bar.advance({ stage: "pairs", done, total });
        signal.throwIfAborted(); // what is half written is taken away
      },
    });
    bar.end();
    if (json) putJson({ schema: "spo.conversion/1", output, ...result });
    for (const line of result.skipped.shown) say(`left out: ${line}`);
    say(`${output}: ${result.written} pairs`);
  } finally {
    bar.end();
    await source.close();
  }
}
