// What the votes on some pairs come to.

import type { Vote } from "@spo/records";
import { bootstrapMean, cohenKappa, krippendorffAlpha, signTest } from "@spo/records";
import type { JudgingResults } from "../api.js";
import { type AskedVote, StandingVotes } from "./judging.js";

/** Votes so far: who won, how sure that is, whether people agree, with each other and with themselves, and whether they favour a side. */
export function judgingResults(
  votes: readonly Vote[],
  names?: readonly [string, string],
): Omit<JudgingResults, "schema"> {
  const counted = new StandingVotes(votes).all;
  const told = counted.filter(({ preference }) => preference !== null);
  const count = (answer: string): number => counted.filter(({ asked }) => asked.answer === answer).length;
  const wins = (side: 0 | 1): number =>
    told.filter(({ preference }) => preference === (side === 0 ? 1 : 0)).length;
  // Of image 1: of a run, the newer one.
  const share = told.map(({ preference }) => 1 - (preference as number));
  const groups = told.map(({ prompt }) => prompt);
  return {
    names: names && [...names],
    votes: counted.length,
    wins: [wins(0), wins(1)],
    ties: count("tie"),
    bothBad: count("both bad"),
    skipped: count("skip"),
    rate: told.length > 0 ? bootstrapMean(share, { groups }) : undefined,
    // Half the width of a 95 % interval of a share about one half.
    visible: told.length > 0 ? (1.96 * 0.5) / Math.sqrt(told.length) : undefined,
    agreement: agreementOf(counted),
    labellers: [...new Set(counted.map(({ labeller }) => labeller))]
      .sort()
      .map((name) => labellerOf(name, votes, counted)),
  };
}

const sideOf = ({ asked }: AskedVote): number[] =>
  asked.answer === "left" ? [1] : asked.answer === "right" ? [0] : [];

function labellerOf(
  name: string,
  all: readonly Vote[],
  counted: readonly AskedVote[],
): JudgingResults["labellers"][number] {
  const own = counted.filter(({ labeller }) => labeller === name);
  const sides = own.flatMap(sideOf);
  return {
    name,
    votes: own.length,
    left: sides.length > 0 ? sides.reduce((sum, left) => sum + left, 0) / sides.length : undefined,
    leftP: signTest(
      sides.map(() => 0.5),
      sides,
    ),
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
