import { scope, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { allRows, conditionBytes, disposeConditions, joinRows, selectRows, splitRows } from "./conditions.js";

/** Conditions of n prompts: states of two tokens, and a vector. Row i holds i, from `first` on. */
const conditions = (n: number, first = 0) => {
  const rows = Array.from({ length: n }, (_, i) => first + i);
  return {
    states: tensor(
      rows.flatMap((i) => [i, i, i, i]),
      { shape: [n, 2, 2] },
    ),
    vector: tensor(rows, { shape: [n, 1] }),
  };
};
const rowsOf = ({ states, vector }: ReturnType<typeof conditions>): [number[], number[]] => [
  states.select(1, 1).select(1, 0).toNumbers(),
  vector.toNumbers(),
];

test("rows are taken of every tensor alike, in any order and more than once", () => {
  scope(() => {
    const three = conditions(3);
    expect(allRows(three)).toEqual([0, 1, 2]);
    expect(rowsOf(selectRows(three, [2, 0, 2]))).toEqual([
      [2, 0, 2],
      [2, 0, 2],
    ]);
  });
});

test("what was split row by row joins to the same", () => {
  scope(() => {
    const three = conditions(3, 5);
    const apart = splitRows(three);
    expect(apart.map(rowsOf)).toEqual([5, 6, 7].map((i) => [[i], [i]]));
    disposeConditions(three); // none of the rows is a view of it
    expect(rowsOf(joinRows([apart[2], apart[0]] as (typeof three)[]))).toEqual([
      [7, 5],
      [7, 5],
    ]);
    expect(conditionBytes(apart[0] as typeof three)).toBe(4 * 4 + 4);
  });
});
