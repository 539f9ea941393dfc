import { expect, test } from "vitest";
import { checkpointIsDue, isDue, stripIsDue, timesDueAfter } from "./due.js";

test("what is done every third of eight steps is done after 3, 6 and the last one", () => {
  const due = Array.from({ length: 8 }, (_, i) => i + 1).filter((step) => isDue(step, 3, 8));
  expect(due).toEqual([3, 6, 8]);
});

test("a checkpoint is written when it is due or the training stops, and never of weights in doubt", () => {
  const saved = (isSound: boolean, isAsked: boolean): number[] =>
    [1, 2, 3, 4, 5].filter((step) => checkpointIsDue(step, { every: 2, total: 5, isSound, isAsked }));
  expect(saved(true, false)).toEqual([2, 4, 5]);
  expect(saved(true, true)).toEqual([1, 2, 3, 4, 5]);
  expect(saved(false, false)).toEqual([]);
  expect(saved(false, true)).toEqual([]);
});

test("candidates are kept in the first round, in each third one after it, and in the last", () => {
  expect([0, 1, 2, 3, 4, 5, 6, 7].filter((round) => stripIsDue(round, 3, 8))).toEqual([0, 3, 6, 7]);
});

test("what is still to be done is counted as it will be done", () => {
  for (const every of [1, 2, 3, 5, 9])
    for (const total of [1, 6, 8])
      for (let step = 0; step <= total; step++) {
        const later = Array.from({ length: total - step }, (_, i) => step + 1 + i);
        expect(timesDueAfter(step, every, total)).toBe(later.filter((at) => isDue(at, every, total)).length);
      }
});
