// How much better scorers find the preferred image of a pair.

import type { PairFacts, PairSource } from "@spo/data";
import type { Reward } from "./reward.js";
import { type PairScores, type ScoreOptions, scorePairs, withFacts } from "./score-pairs.js";

/**
 * The source with the gaps of a scorer: its score of the preferred image less that of the other; of ties and unjudged pairs, that of image
 * 0 less that of image 1. Pairs whose images do not decode get none.
 *
 * Throws UserErrors as `scorePairs`. Source: multi-preference consistent filtering, of latent preference optimisation.
 */
export async function withGaps(
  source: PairSource,
  reward: Reward,
  options: ScoreOptions = {},
): Promise<PairSource> {
  const { scores, facts } = await scorePairs(source, reward, options);
  const found = facts.map((block, b) =>
    block.map((pair, row): PairFacts => {
      const gap = gapOf(pair, scores[b]?.[row] as PairScores);
      const { [reward.name]: _, ...others } = pair.gaps ?? {}; // an older one of the same name
      return { ...pair, gaps: Number.isNaN(gap) ? others : { ...others, [reward.name]: gap } };
    }),
  );
  return withFacts(source, found, [...new Set([...(source.gapScorers ?? []), reward.name])]);
}

const gapOf = ({ label0, label1 }: PairFacts, { score0, score1 }: PairScores): number =>
  label1 > label0 ? score1 - score0 : score0 - score1;
