// What the commands about preference sets share.
import { requirePlace } from "@spo/torch/files";
import { type Command, Option } from "commander";
import { LAYOUTS, type Layout, SOFT_LABELS, type SoftLabels } from "spo/data";
import type { CommonOptions } from "../program.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, say } from "../terminal/terminal.js";
import { visibleLine } from "../terminal/visible.js";

export interface SetOptions {
  layout?: Layout;
  allowOutside?: boolean;
  softLabels?: SoftLabels;
}

/** What opens a set as the options say. */
export const openingOf = ({ layout, allowOutside, softLabels }: SetOptions): SetOptions => ({
  layout,
  allowOutside,
  softLabels,
});

/** The options by which a set is read. */
export const addSetOptions = (command: Command): Command =>
  command
    .addOption(layoutOption())
    .addOption(allowOutsideOption())
    .addOption(
      new Option("--soft-labels <how>", "what counted votes become: v₀/(v₀+v₁), (v₀+1)/(v₀+v₁+2), or a win")
        .choices(SOFT_LABELS)
        .default("share"),
    );

/** The options that choose pairs by the models of their images. */
export const addModelOptions = (command: Command): Command =>
  command.option("--same-model", "only pairs whose two images are by one model").addOption(
    new Option(
      "--models <names>",
      "only pairs whose images are both by these models, with commas between",
    ).argParser((text) =>
      text
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== ""),
    ),
  );

/** Images of a list may lie anywhere. */
export const allowOutsideOption = (): Option =>
  new Option("--allow-outside", "images may lie outside of the list's folder; only for lists that you trust");

export const layoutOption = (): Option =>
  new Option("--layout <layout>", "of what is read; default: seen from the files' names").choices(LAYOUTS);

export interface ConversionOptions extends CommonOptions, SetOptions {
  output: string;
  split?: string;
  votes?: string;
  skipBroken?: boolean;
  harden?: boolean;
  sameModel?: boolean;
  models?: string[];
}

/** Whether a set in this layout is one file or a folder. */
export const placeOf = (layout: Layout | "votes"): "file" | "folder" =>
  layout === "parquet" || layout === "votes" ? "file" : "folder";

/** Reads a set, writes it in another layout, and says what was done. */
export async function convert(
  paths: readonly string[],
  to: Layout,
  options: ConversionOptions,
): Promise<void> {
  const { output, split, votes, skipBroken, harden, sameModel, models, json, quiet } = options;
  requirePlace(output, placeOf(to));
  const { Ballot, convertPairs, openPairs, readVotes } = await import("spo/data");
  const ballot = votes === undefined ? undefined : new Ballot(readVotes(votes));
  const bar = new ProgressBar({ quiet });
  const signal = interruptible((text) => bar.say(text));
  signal.addEventListener("abort", () => bar.say(`${output} is not written: the same command begins anew.`));
  const source = await openPairs(paths, openingOf(options));
  try {
    const result = await convertPairs(source, {
      to,
      output,
      split,
      votes: ballot,
      skipBroken,
      harden,
      sameModel,
      models,
      onProgress: (done, total) => {
        bar.advance({ stage: "pairs", done, total });
        signal.throwIfAborted(); // what is half written is taken away
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
