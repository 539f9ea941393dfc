// What the page of judging is at: one object, and pure steps from it to the next.
import type { NextPairs } from "../src/api.ts";
import type { Ballot } from "./outbox.ts";

export type Pair = NextPairs["next"][number];

export interface JudgeState {
  labeller: string;
  /** The first one is shown. */
  queue: readonly Pair[];
  /** Answered here, the newest last: what undo goes back to. */
  answered: readonly Pair[];
}

/** Nobody answers sooner on purpose: a key that is held down must not answer the next pair. */
export const DEAD_SECONDS = 0.25;

/** How many pairs a person has judged, those that come again aside. here: pairs of this page that were among those the server knew. */
export function judgedOf(
  { answered: known, here }: { answered: number; here: number },
  answers: readonly Pair[],
): number {
  return known + firstTimes(answers) - here;
}

/** How many of some pairs were not shown before. */
export const firstTimes = (pairs: readonly Pair[]): number => pairs.filter(({ repeat }) => !repeat).length;

/** An answer to the shown pair, and the vote that it makes; undefined where nothing is shown, or it came too soon. */
export function answered(
  state: JudgeState,
  answer: string,
  { seconds, id }: { seconds: number; id: string },
): { state: JudgeState; ballot: Ballot } | undefined {
  const [pair, ...queue] = state.queue;
  if (!pair || seconds < DEAD_SECONDS) return undefined;
  return {
    state: { ...state, queue, answered: [...state.answered, pair] },
    ballot: { id, pair: pair.pair, labeller: state.labeller, answer, seconds, repeat: pair.repeat },
  };
}

/** Takes the newest answer back: its pair is shown again. Undefined where there is none. */
export function undone(state: JudgeState, id: string): { state: JudgeState; ballot: Ballot } | undefined {
  const pair = state.answered.at(-1);
  if (!pair) return undefined;
  return {
    state: { ...state, queue: [pair, ...state.queue], answered: state.answered.slice(0, -1) },
    ballot: {
      id,
      pair: pair.pair,
      labeller: state.labeller,
      answer: "undo",
      seconds: 0,
      repeat: pair.repeat,
    },
  };
}

/** Pairs that came from the server behind those that are there already. */
export function filled(state: JudgeState, next: readonly Pair[]): JudgeState {
  const known = new Set(state.queue.map(({ pair }) => pair));
  return { ...state, queue: [...state.queue, ...next.filter(({ pair }) => !known.has(pair))] };
}
