import { expect, test } from "vitest";
import { LearnedPairs } from "./learned-pairs.js";

test("pairs of all updates are told by the timestep of their comparison, with implicit accuracy and |log ratio|", () => {
  const learned = new LearnedPairs();
  const pairs = { comparisons: [0, 2, 2, 0, 2] };
  learned.add(pairs, [3, 1], { logRatioWin: [0.05, -0.01], logRatioLose: [-0.01, 0.02] });
  learned.add(pairs, [0, 4, 2], { logRatioWin: [-0.02, 0.5, 0.01], logRatioLose: [0, 0.4, -0.03] });
  const found = learned.byTimestep([301, 201, 101], 0.1);
  // The pair at place 4 is clipped on both sides, which is a tie; nothing came from 201.
  expect(found).toEqual([
    { timestep: 301, pairs: 2, accuracy: 0.5, logRatio: expect.closeTo(0.08 / 4, 12) },
    { timestep: 101, pairs: 3, accuracy: expect.closeTo(0.5, 12), logRatio: expect.closeTo(0.97 / 6, 12) },
  ]);
});

test("a log ratio that is not finite is left out, and null where there is no other", () => {
  const learned = new LearnedPairs();
  learned.add({ comparisons: [0, 0, 1] }, [0, 1, 2], {
    logRatioWin: [0.01, Number.NaN, 0],
    logRatioLose: [-0.01, 0, Number.NEGATIVE_INFINITY],
  });
  expect(learned.byTimestep([7, 3], 0.1)).toEqual([
    { timestep: 7, pairs: 2, accuracy: 1, logRatio: 0.01 },
    { timestep: 3, pairs: 1, accuracy: null, logRatio: null },
  ]);
});
