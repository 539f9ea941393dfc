import type { Event, Run } from "../records/index.js";

export type RecipeEvent = Event;

/** What a recipe is given beside its config. */
export interface RecipeContext {
  run: Run;
  /** Aborted: the recipe finishes its step, saves a checkpoint and throws the signal's reason. */
  signal: AbortSignal;
}
