// Checkpoints and results are told of before they are written, so that the time left counts them.
import type { RecipeContext, RecipeEvent, TellPhase } from "../recipe.js";
import { checkpointIsDue, timesDueAfter } from "./due.js";
import { type TrainingState, trainingStateFiles } from "./training-state.js";

/** Writes a checkpoint of a step, 1 for the first, where one is due: as `checkpointIsDue`. One that is asked for is waited for. */
export function* saveDue(
  { run }: RecipeContext,
  tell: TellPhase,
  state: TrainingState,
  step: number,
  save: Parameters<typeof checkpointIsDue>[1],
): Generator<RecipeEvent> {
  if (!checkpointIsDue(step, save)) return;
  const left = timesDueAfter(step, save.every, save.total) + 1; // the last one is the result
  tell("saving", { done: 0, total: 1, left });
  yield* run.save(step, () => trainingStateFiles(state), { wait: save.isAsked });
  tell("saving", { done: 1, total: 1, left });
}

/** Writes the result, by the process that writes the run. */
export function saveResult({ run }: RecipeContext, tell: TellPhase, save: () => void): void {
  tell("saving", { done: 0, total: 1, left: 0 });
  if (run.writes) save();
  tell("saving", { done: 1, total: 1, left: 0 });
}
