// Filters a preference set by how much better scorers find the preferred images, and writes what is left.

import {
  checkGapFilter,
  convertPairs,
  disagreementText,
  filterByGaps,
  type GapSummary,
  isTurned,
  type Layout,
  openPairs,
  parseGapCondition,
} from "@spo/data";
import { type Reward, withGaps } from "@spo/scorers";
import { answerSignals, resolveDevice, UserError } from "@spo/torch";
import { loadReward } from "spo";
import type { CommonOptions } from "../options/common-options.js";
import { openingOf, type SetOptions } from "../options/pair-options.js";
import { resolveReward } from "../options/resolve-reward.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, say } from "../terminal/terminal.js";
import { visibleLine } from "../terminal/visible.js";

/** Of `spo data filter`. */
export interface FilterCommandOptions extends CommonOptions, SetOptions {
  output: string;
  to: Layout;
  by?: string[];
  require?: string[];
  ties?: string[];
  batch: number;
  device: string;
  skipBroken?: boolean;
}

/** Scores a set where scorers are named, keeps what meets all conditions, and says what was left out and why. */
export async function filterSet(paths: readonly string[], options: FilterCommandOptions): Promise<void> {
  const { output, to, by = [], batch, skipBroken, json, quiet } = options;
  const filter = {
    require: (options.require ?? []).map(parseGapCondition),
    ties: (options.ties ?? []).map(parseGapCondition),
  };
  if (by.length + filter.require.length + filter.ties.length === 0)
    throw new UserError("Nothing was asked for: give --by, --require or --ties.", { code: "USAGE" });
  const bar = new ProgressBar({ quiet });
  const device = resolveDevice(options.device);
  const signal = interruptible((text) => bar.say(text), answerSignals);
  signal.addEventListener("abort", () => bar.say(`${output} is not written: the same command begins anew.`));
  const advance = (stage: string) => (done: number, total: number) => {
    bar.advance({ stage, done, total });
    signal.throwIfAborted(); // a half-written output is removed
  };
  let source = await openPairs(paths, openingOf(options));
  try {
    const rewards: Reward[] = [];
    for (const spec of by) rewards.push(await loadReward(await resolveReward(spec, { quiet }), { device }));
    requireNames(rewards);
    // Before anything is scored.
    checkGapFilter(filter, [...(source.gapScorers ?? []), ...rewards.map(({ name }) => name)]);
    for (const reward of rewards) {
      source = await withGaps(source, reward, { batch, skipBroken, onProgress: advance(reward.name) });
      reward.dispose?.();
    }
    const { filtered, summary } = await filterByGaps(source, filter, { skipBroken });
    const converted = await convertPairs(filtered, {
      ...{ to, output, skipBroken, harden: true },
      onProgress: advance("pairs"),
    });
    bar.end();
    if (json) putJson({ schema: "spo.filtered/1", output, by, ...summary, ...converted });
    for (const line of converted.skipped.shown) say(`left out: ${visibleLine(line)}`);
    for (const line of words(summary)) say(visibleLine(line));
    say(`${output}: ${converted.written} pairs`);
  } finally {
    bar.end();
    await source.close();
  }
}

/** Two scorers of one name would overwrite each other's gaps. */
function requireNames(rewards: readonly Reward[]): void {
  const names = rewards.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice === undefined) return;
  throw new UserError(`Two scorers are called ${twice}.`, {
    code: "USAGE",
    hint: "Filter twice, or give one of them another name: a module of your own has its file's.",
  });
}

function words(summary: GapSummary): string[] {
  const { pairs, wins, ties, conditions, scorers } = summary;
  const share = (part: number, of: number): string => `${((100 * part) / Math.max(1, of)).toFixed(1)} %`;
  return [
    `${pairs} judged pairs: ${wins.kept} of ${wins.before} with a winner stay, ${ties.kept} of ${ties.before} ties`,
    ...conditions.map(
      ({ condition, failed, alone }) => `${condition}: ${failed} pairs fail it, ${alone} of them this alone`,
    ),
    ...scorers.map((signs) => {
      const { scorer, agree, oppose, equal } = signs;
      const of = agree + oppose + equal;
      const doubt = isTurned(signs) ? "; with a scorer, higher must be better" : "";
      return `${scorer} scores the preferred image higher in ${share(agree, of)} of ${of} pairs, lower in ${share(oppose, of)}${doubt}`;
    }),
    ...[disagreementText(summary)].filter((text) => text !== undefined),
  ];
}
