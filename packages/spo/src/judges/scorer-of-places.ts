import type { CandidateScorer } from "./judge.js";

/** A scorer of some of the prompts: its row i is the given scorer's row places[i]. Frees nothing. */
export function scorerOfPlaces(scorer: CandidateScorer, places: readonly number[]): CandidateScorer {
  const placesOf = (rows: readonly number[]): number[] => rows.map((row) => places[row] as number);
  const { sees, scoreByJudge } = scorer;
  return {
    sees,
    score: (candidates, rows, meter) => scorer.score(candidates, placesOf(rows), meter),
    ...(scoreByJudge && {
      scoreByJudge: (candidates, rows, meter) => scoreByJudge.call(scorer, candidates, placesOf(rows), meter),
    }),
  };
}
