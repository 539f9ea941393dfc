// What the votes on some pairs come to.

import type { Estimate, Vote } from "@spo/records";
import { bootstrapMean, bradleyTerryIntervals, cohenKappa, krippendorffAlpha, signTest } from "@spo/records";
import type { JudgingResults } from "../api.js";
import { type AskedVote, StandingVotes } from "./judging.js";
import type { PairsToJudge, PairToJudge } from "./pairs-to-judge.js";

/**
 * Votes so far: who won, how sure that is, whether people agree, with each other and with themselves, and whether they favour a side. Pairs
 * of gold only tell of the people.
 */
export function judgingResults(
  votes: readonly Vote[],
  { names, pairs }: PairsToJudge,
): Omit<JudgingResults, "schema" | "training"> {
  const known = new Map(pairs.map((pair) => [pair.id, pair]));
  const all = new StandingVotes(votes).all;
  const isGold = ({ asked }: AskedVote): boolean => known.get(asked.pair)?.gold !== undefined;
  const counted = all.filter((vote) => !isGold(vote));
  const told = counted.filter(({ preference }) => preference !== null);
  const count = (answer: string): number => counted.filter(({ asked }) => asked.answer === answer).length;
  // Of the second name: of a run, the newer one.
  const share = told.map(({ preference, asked }) => {
    const models = known.get(asked.pair)?.models;
    return models && models[0] === names?.[1] ? (preference as number) : 1 - (preference as number);
  });
  const groups = told.map(({ prompt }) => prompt);
  return {
    names: names && [...names],
    votes: counted.length,
    wins: [share.filter((won) => won === 0).length, share.filter((won) => won === 1).length],
    ties: count("tie"),
    bothBad: count("both bad"),
    skipped: count("skip"),
    rate: told.length > 0 ? bootstrapMean(share, { groups }) : undefined,
    // Half the width of a 95 % interval of a share about one half.
    visible: told.length > 0 ? (1.96 * 0.5) / Math.sqrt(told.length) : undefined,
    agreement: agreementOf(counted),
    models: strengthsOf(told, known),
    labellers: [...new Set(all.map(({ labeller }) => labeller))]
      .sort()
      .map((name) => labellerOf(name, votes, all, known)),
  };
}

/** Of more than two models; undefined where there are fewer. The strongest first. */
function strengthsOf(
  told: readonly AskedVote[],
  known: ReadonlyMap<string, PairToJudge>,
): JudgingResults["models"] {
  const names = [...new Set([...known.values()].flatMap(({ models }) => models ?? []))].sort();
  if (names.length < 3) return undefined;
  const matches = told.flatMap(({ asked, preference, prompt }) => {
    const { models } = known.get(asked.pair) ?? {};
    if (!models || models[0] === models[1]) return [];
    const [a, b] = models.map((name) => names.indexOf(name)) as [number, number];
    return [{ a, b, share: preference as number, prompt }];
  });
  if (matches.length === 0) return undefined;
  const strengths = bradleyTerryIntervals(
    matches,
    names.length,
    matches.map(({ prompt }) => prompt),
  );
  return names
    .map((name, i) => ({
      name,
      votes: matches.filter(({ a, b }) => a === i || b === i).length,
      strength: strengths[i] as Estimate,
    }))
    .sort((a, b) => b.strength.value - a.strength.value);
}

const sideOf = ({ asked }: AskedVote): number[] =>
  asked.answer === "left" ? [1] : asked.answer === "right" ? [0] : [];

function labellerOf(
  name: string,
  all: readonly Vote[],
  standing: readonly AskedVote[],
  known: ReadonlyMap<string, PairToJudge>,
): JudgingResults["labellers"][number] {
  const own = standing.filter(({ labeller }) => labeller === name);
  const gold = own.flatMap(({ asked, preference }) => {
    const better = known.get(asked.pair)?.gold;
    return better === undefined || asked.answer === "skip" ? [] : [preference === 1 - better];
  });
  const sides = own.flatMap(sideOf);
  return {
    name,
    votes: own.length,
    left: sides.length > 0 ? sides.reduce((sum, left) => sum + left, 0) / sides.length : undefined,
    leftP: signTest(
      sides.map(() => 0.5),
      sides,
    ),
    gold: gold.length,
    goldRight: gold.filter(Boolean).length,
    hasty: own.filter(({ asked }) => asked.hasty).length,
    ...selfAgreement(all.filter(({ labeller }) => labeller === name)),
  };
}

/** How often a person said the same of a pair that was shown again the other way round. */
function selfAgreement(own: readonly Vote[]): { repeats: number; agreed: number } {
  const first = new Map<string, Vote>();
  let [repeats, agreed] = [0, 0];
  for (const vote of own) {
    if (!vote.asked || vote.asked.answer === "undo") continue;
    const before = first.get(vote.asked.pair);
    if (!vote.asked.repeat) first.set(vote.asked.pair, vote);
    else if (before) {
      repeats++;
      if (labelOf(before) === labelOf(vote)) agreed++;
    }
  }
  return { repeats, agreed };
}

const labelOf = ({ preference, asked }: Vote): string =>
  preference === null ? (asked?.answer ?? "none") : String(preference);

/** By Cohen of two people, by Krippendorff of more; undefined where no two judged the same pair. */
function agreementOf(votes: readonly AskedVote[]): JudgingResults["agreement"] {
  const byPair = new Map<string, Map<string, string>>();
  for (const vote of votes) {
    if (vote.asked.answer === "skip") continue;
    const labels = byPair.get(vote.asked.pair) ?? new Map<string, string>();
    byPair.set(vote.asked.pair, labels.set(vote.labeller, labelOf(vote)));
  }
  const shared = [...byPair.values()].filter((labels) => labels.size > 1);
  if (shared.length === 0) return undefined;
  const people = [...new Set(shared.flatMap((labels) => [...labels.keys()]))].sort();
  const [a, b] = people as [string, string];
  const value =
    people.length === 2
      ? cohenKappa(shared.map((labels) => [labels.get(a) as string, labels.get(b) as string]))
      : krippendorffAlpha(shared.map((labels) => [...labels.values()]));
  return {
    by: people.length === 2 ? "Cohen's κ" : "Krippendorff's α",
    value: Number.isFinite(value) ? value : 1,
    pairs: shared.length,
  };
}
