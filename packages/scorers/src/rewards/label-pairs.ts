// Preference labels from a scorer: AI feedback where there are no people.

import type { PairFacts, PairSource } from "@spo/data";
import type { Reward } from "./reward.js";
import { type PairScores, type ScoreOptions, scorePairs, withFacts } from "./score-pairs.js";

/** How scores become labels. */
export interface LabelOptions extends ScoreOptions {
  /** Score difference at which the better image is preferred with odds of e to 1. PickScore and ImageReward were trained with 1. */
  temperature?: number;
  /** Where the two probabilities are at most so far apart, the pair is a tie, ½ and ½. */
  tie?: number;
  /** 1 and 0 in place of probabilities. */
  hard?: boolean;
}

/** What the labels came out as. */
export interface LabelSummary {
  pairs: number;
  ties: number;
  /** Neither 0, ½ nor 1. */
  soft: number;
  /** Middle of |score0 − score1|. */
  medianGap: number;
  /** Middle of the larger label: near 1 the labels say hardly more than who won, near ½ next to nothing. */
  medianWin: number;
  /** Of pairs that were labelled before, without ties on either side: share whose winner is the same. */
  agreement?: { share: number; pairs: number };
}

/**
 * Bradley and Terry: p(image 0 is better) = σ((score0 − score1)/temperature). Source: Bradley & Terry 1952; algorithm 3, softmax of scores.
 */
export function labelOf(
  { score0, score1 }: PairScores,
  { temperature = 1, tie = 0, hard = false }: Pick<LabelOptions, "temperature" | "tie" | "hard"> = {},
): number {
  const gap = (score0 - score1) / temperature;
  const apart = Math.abs(Math.tanh(gap / 2)); // |p0 − p1|
  if (gap === 0 || apart <= tie) return 0.5;
  return hard ? Number(gap > 0) : 1 / (1 + Math.exp(-gap));
}

/**
 * Scores every pair of a source, and gives the source with labels made of the scores. Pairs whose images do not decode are left without
 * a label.
 *
 * Throws UserErrors as `scorePairs`.
 */
export async function labelPairs(
  source: PairSource,
  reward: Reward,
  options: LabelOptions = {},
): Promise<{ labelled: PairSource; scores: PairScores[][]; summary: LabelSummary }> {
  const { scores, facts: before } = await scorePairs(source, reward, options);
  const facts = before.map((block, b) =>
    block.map((pair, row) => labelledFacts(pair, scores[b]?.[row] as PairScores, reward.name, options)),
  );
  return {
    labelled: withFacts(source, facts),
    scores,
    summary: summarise(before.flat(), facts.flat(), scores.flat()),
  };
}

function labelledFacts(pair: PairFacts, scores: PairScores, kind: string, options: LabelOptions): PairFacts {
  if (Number.isNaN(scores.score0 + scores.score1))
    return { ...pair, labelled: false, label0: Number.NaN, label1: Number.NaN };
  const label0 = labelOf(scores, options);
  const { faults: _, gaps: __, ...rest } = pair; // of labels that no longer count
  return { ...rest, kind: pair.kind ?? kind, labelled: true, label0, label1: 1 - label0 };
}

function summarise(
  before: readonly PairFacts[],
  after: readonly PairFacts[],
  scores: readonly PairScores[],
): LabelSummary {
  const judged = after.flatMap((facts, i) =>
    facts.labelled ? [{ facts, was: before[i] as PairFacts, scores: scores[i] as PairScores }] : [],
  );
  const decided = judged.filter(
    ({ facts, was }) => was.labelled && was.label0 !== was.label1 && facts.label0 !== facts.label1,
  );
  const same = decided.filter(({ facts, was }) => facts.label0 > 0.5 === was.label0 > 0.5).length;
  return {
    pairs: judged.length,
    ties: judged.filter(({ facts }) => facts.label0 === 0.5).length,
    soft: judged.filter(({ facts }) => ![0, 0.5, 1].includes(facts.label0)).length,
    medianGap: median(judged.map(({ scores: { score0, score1 } }) => Math.abs(score0 - score1))),
    medianWin: median(judged.map(({ facts }) => Math.max(facts.label0, facts.label1))),
    ...(decided.length > 0 ? { agreement: { share: same / decided.length, pairs: decided.length } } : {}),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
}
