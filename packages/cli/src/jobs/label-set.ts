// Labels a preference set, or pairs of images, by a scorer, and writes it.
import { basename } from "node:path";
import {
  type Converted,
  convertPairs,
  dataFacts,
  fingerprintOfPairs,
  type Layout,
  openPairs,
  type PairSource,
  pairImages,
  readImageSet,
  votesOf,
  writeVotes,
} from "@spo/data";
import { type LabelSummary, labelPairs, type PairScores } from "@spo/scorers";
import { mapSpecPaths } from "@spo/scorers/reward-spec";
import { answerSignals, resolveDevice } from "@spo/torch";
import { UserError, writeFileAtomic } from "@spo/torch/files";
import { loadReward } from "spo";
import { ownDevice, requireSameWork } from "spo/recipes";
import type { CommonOptions } from "../options/common-options.js";
import { openingOf, type SetOptions } from "../options/pair-options.js";
import { resolveReward } from "../options/resolve-reward.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, say } from "../terminal/terminal.js";
import { visibleLine } from "../terminal/visible.js";
import { openWorld } from "./open-world.js";

/** Of `spo label`. */
export type LabelCommandOptions = CommonOptions &
  SetOptions & {
    by: string;
    to: Layout | "votes";
    output: string;
    images?: boolean;
    temperature: number;
    tie: number;
    hard?: boolean;
    perPrompt?: number;
    testShare?: number;
    seed: number;
    batch: number;
    device: string;
    scores?: string;
    skipBroken?: boolean;
  };

/** Labels a set and writes it. Of several processes that a launcher started, each scores its share, and rank 0 writes. */
export async function label(paths: readonly string[], options: LabelCommandOptions): Promise<void> {
  const { by, to, output, temperature, tie, hard, batch, skipBroken, json } = options;
  checkNumbers(options);
  const world = await openWorld("label");
  const speaks = world.rank === 0;
  const device = resolveDevice(ownDevice(options.device, world, process.env));
  const quiet = options.quiet || !speaks;
  const source = await open(paths, options);
  const bar = new ProgressBar({ quiet });
  const signal = interruptible((text) => bar.say(text), answerSignals);
  signal.addEventListener("abort", () => {
    if (speaks) bar.say(`${output} is not written: the same command begins anew.`);
  });
  try {
    const { images, perPrompt, testShare, seed } = options;
    const scorer = mapSpecPaths(by, (path) => basename(path));
    await requireSameWork(
      world,
      { by: scorer, temperature, tie, hard, batch, skipBroken, images, perPrompt, testShare, seed },
      world.size > 1 ? dataFacts({ pairs: await fingerprintOfPairs(source) }) : {},
    );
    const reward = await loadReward(await resolveReward(by, { quiet }), { device });
    const advance = (stage: string) => (done: number, total: number) => {
      bar.advance({ stage, done, total });
      signal.throwIfAborted(); // a half-written output is removed
    };
    const { labelled, scores, summary } = await labelPairs(source, reward, {
      ...{ temperature, tie, hard, batch, skipBroken },
      onProgress: advance("scores"),
      world,
    });
    reward.dispose?.();
    await world.close();
    if (!speaks) return;
    const converted: Converted =
      to === "votes"
        ? {
            written: await writeVotes(output, votesOf(labelled, reward.name)),
            skipped: { count: 0, shown: [] },
          }
        : await convertPairs(labelled, { to, output, skipBroken, onProgress: advance("pairs") });
    if (options.scores) writeFileAtomic(options.scores, scoreLines(labelled, scores));
    bar.end();
    if (json) putJson({ schema: "spo.labels/1", output, by, ...summary, ...converted });
    for (const line of converted.skipped.shown) say(`left out: ${visibleLine(line)}`);
    for (const line of words(summary, reward.name)) say(line);
    say(`${output}: ${converted.written} ${to === "votes" ? "votes" : "pairs"}`);
  } finally {
    bar.end();
    await source.close();
  }
}

async function open(paths: readonly string[], options: LabelCommandOptions): Promise<PairSource> {
  const { images, perPrompt, testShare, seed, allowOutside } = options;
  if (!images) return openPairs(paths, openingOf(options));
  const set = paths.flatMap((path) => readImageSet(path, { allowOutside }));
  const source = pairImages(set, { perPrompt, testShare, seed });
  if (source.blocks.length === 0) {
    throw new UserError(`${set.length} images, and no two of them for the same prompt: there is no pair.`, {
      code: "DATA",
      hint: "Make several images of each prompt, with several seeds or models: npx spo sample --count 4.",
    });
  }
  return source;
}

function checkNumbers({ temperature, tie, testShare = 0, images, perPrompt }: LabelCommandOptions): void {
  const faults: string[] = [];
  if (!(temperature > 0)) faults.push("--temperature must be a number above 0");
  if (!(tie >= 0 && tie <= 1)) faults.push("--tie must be from 0 to 1");
  if (!(testShare >= 0 && testShare < 1)) faults.push("--test-share must be from 0 to below 1");
  if (!images && (perPrompt !== undefined || testShare > 0))
    faults.push("--per-prompt and --test-share are for --images: a preference set has its pairs and splits");
  if (faults.length > 0) throw new UserError(`${faults.join("; ")}.`, { code: "USAGE" });
}

function scoreLines(source: PairSource, scores: readonly (readonly PairScores[])[]): string {
  return scores
    .flatMap((block, b) =>
      block.map((pair, row) => `${JSON.stringify({ where: source.where(b, row), ...pair })}\n`),
    )
    .join("");
}

function words({ pairs, ties, soft, medianGap, medianWin, agreement }: LabelSummary, name: string): string[] {
  const share = (part: number): string => `${((100 * part) / Math.max(1, pairs)).toFixed(1)} %`;
  const lines = [
    `${pairs} pairs by ${name}: ${share(ties)} ties, ${share(soft)} soft; half of the scores are more than ` +
      `${medianGap.toPrecision(3)} apart, half of the labels above ${medianWin.toFixed(3)}`,
  ];
  if (agreement)
    lines.push(
      `the same winner as before in ${(100 * agreement.share).toFixed(1)} % of ${agreement.pairs} pairs that both decide`,
    );
  if (soft > 0 && medianWin < 0.52)
    lines.push("Most labels are near ½: this scorer's differences are small, lower --temperature.");
  if (soft > 0 && medianWin > 0.995)
    lines.push("Most labels are near 1: this scorer's differences are large, raise --temperature.");
  return lines;
}
