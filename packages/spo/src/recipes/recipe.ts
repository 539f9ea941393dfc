import { join } from "node:path";
import { type Event, Run } from "@spo/records";
import { engineFacts } from "@spo/torch";
import { mayChange } from "./may-change.js";

/** What a recipe yields: the events of its run folder. */
export type RecipeEvent = Event;

/** What a recipe is given beside its config. */
export interface RecipeContext {
  run: Run;
  /** Aborted: the recipe finishes its step, saves a checkpoint and throws the signal's reason. */
  signal: AbortSignal;
  /** Told what the recipe is at, in the midst of its work: phases that are not written into the log. */
  onPhase?: (phase: RecipeEvent) => void;
}

/** Names what a recipe is at: `sampling`, 7 of 20 steps, and how many times more that comes in the training. */
export type TellPhase = (name: string, progress?: { done: number; total: number; left?: number }) => void;

/** What a recipe tells its phases by. */
export const phaseTeller =
  ({ run, onPhase }: RecipeContext): TellPhase =>
  (name, { done, total, left } = { done: 0, total: 0 }) =>
    onPhase?.(run.stamped({ type: "phase", name, done, total, left }));

/** What a program gives a recipe that it calls itself. */
export interface RecipeOptions {
  /** The run, or its folder, which is gone on with where it holds one. Default: `run` inside the output. */
  run?: Run | string;
  /** Aborted: as in `RecipeContext`. Default: nothing stops it. */
  signal?: AbortSignal;
  /** As in `RecipeContext`. */
  onPhase?: (phase: RecipeEvent) => void;
}

/** The context that options stand for. `using` lets go of a run that was opened here. */
export function openContext(
  kind: string,
  config: { output: string },
  { run = join(config.output, "run"), signal = new AbortController().signal, onPhase }: RecipeOptions,
): RecipeContext & Disposable {
  if (typeof run !== "string") return { run, signal, onPhase, [Symbol.dispose]: () => {} };
  const opened = Run.open(run, { kind, config, engine: engineFacts(), mayChange: mayChange(kind) });
  return { run: opened, signal, onPhase, [Symbol.dispose]: () => opened.close() };
}
