import { join } from "node:path";
import { engineFacts } from "@spo/torch";
import { type Event, Run } from "../records/index.js";
import { mayChange } from "./may-change.js";
import type { RecipeKind } from "./schemas.js";

/** What a recipe yields: the events of its run folder. */
export type RecipeEvent = Event;

/** What a recipe is given beside its config. */
export interface RecipeContext {
  run: Run;
  /** Aborted: the recipe finishes its step, saves a checkpoint and throws the signal's reason. */
  signal: AbortSignal;
}

/** What a program gives a recipe that it calls itself. */
export interface RecipeOptions {
  /** The run, or its folder, which is gone on with where it holds one. Default: `run` inside the output. */
  run?: Run | string;
  /** Aborted: as in `RecipeContext`. Default: nothing stops it. */
  signal?: AbortSignal;
}

/** The context that options stand for. `using` lets go of a run that was opened here. */
export function openContext(
  kind: RecipeKind,
  config: { output: string },
  { run = join(config.output, "run"), signal = new AbortController().signal }: RecipeOptions,
): RecipeContext & Disposable {
  if (typeof run !== "string") return { run, signal, [Symbol.dispose]: () => {} };
  const opened = Run.open(run, { kind, config, engine: engineFacts(), mayChange: mayChange(kind) });
  return { run: opened, signal, [Symbol.dispose]: () => opened.close() };
}
