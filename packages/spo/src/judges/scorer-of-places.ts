import type { CandidateScorer } from "./judge.js";

/** A scorer of some of the prompts: its row i is the given scorer's row places[i]. Frees nothing. */
export const scorerOfPlaces = (scorer: CandidateScorer, places: readonly number[]): CandidateScorer => ({
  sees: scorer.sees,
  score: (candidates, rows, meter) =>
    scorer.score(
      candidates,
      rows.map((row) => places[row] as number),
      meter,
    ),
});
