import { expect, test } from "vitest";
import { answered, filled, type JudgeState, judgedOf, undone } from "./judge-state.ts";

const pair = (name: string) => ({ pair: name, prompt: "p", left: "l", right: "r", repeat: false });
const state: JudgeState = { labeller: "anna", queue: [pair("a"), pair("b")], answered: [] };

test("an answer is of the shown pair, and shows the next one", () => {
  const step = answered(state, "left", { seconds: 2, id: "x" });
  expect(step?.state.queue.map((each) => each.pair)).toEqual(["b"]);
  expect(step?.ballot).toEqual({
    id: "x",
    pair: "a",
    labeller: "anna",
    answer: "left",
    seconds: 2,
    repeat: false,
  });
});

test("a key that is held down answers nothing, and neither does one where no pair is shown", () => {
  expect(answered(state, "left", { seconds: 0.2, id: "x" })).toBeUndefined();
  expect(answered({ ...state, queue: [] }, "left", { seconds: 2, id: "x" })).toBeUndefined();
});

test("undo shows the newest answered pair again, step by step", () => {
  const one = answered(state, "left", { seconds: 1, id: "x" })?.state as JudgeState;
  const two = answered(one, "tie", { seconds: 1, id: "y" })?.state as JudgeState;
  const back = undone(two, "z");
  expect(back?.ballot).toMatchObject({ pair: "b", answer: "undo" });
  expect(back?.state.queue[0]?.pair).toBe("b");
  expect(undone(back?.state as JudgeState, "w")?.state).toEqual(state);
  expect(undone(state, "z")).toBeUndefined();
});

test("judged pairs are those that the server knew and those since, each once, and less what was taken back", () => {
  const [a, b, again] = [pair("a"), pair("b"), { ...pair("a"), repeat: true }];
  expect(judgedOf({ answered: 5, here: 1 }, [a, b, again])).toBe(6);
  expect(judgedOf({ answered: 5, here: 2 }, [a])).toBe(4); // of two that the server knew one was taken back
  expect(judgedOf({ answered: 0, here: 0 }, [])).toBe(0);
});

test("pairs that come again from the server are not shown twice", () => {
  expect(filled(state, [pair("b"), pair("c")]).queue.map((each) => each.pair)).toEqual(["a", "b", "c"]);
});
