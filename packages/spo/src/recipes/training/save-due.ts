// Checkpoints and results are told of before they are written, so that the time left counts them.
import type { RecipeContext, RecipeEvent, TellPhase } from "../recipe.js";
import { checkpointIsDue, timesDueAfter } from "./due.js";
import { type TrainingState, trainingStateFiles } from "./training-state.js";

/** Writes a checkpoint of a step, 1 for the first, where one is due: as `checkpointIsDue`. One that is asked for is waited for. */
export async function* saveDue(
  { run, world }: RecipeContext,
  tell: TellPhase,
  state: TrainingState,
  step: number,
  save: Parameters<typeof checkpointIsDue>[1],
): AsyncGenerator<RecipeEvent> {
  if (!checkpointIsDue(step, save)) return;
  const left = timesDueAfter(step, save.every, save.total) + 1; // the last one is the result
  tell("saving", { done: 0, total: 1, left });
  yield* run.save(step, () => trainingStateFiles(state), { wait: save.isAsked });
  await world.waitForRank0("the save"); // which waits for the one before
  tell("saving", { done: 1, total: 1, left });
}

/** Writes the result, by the process that writes the run. */
export async function saveResult(
  { run, world }: RecipeContext,
  tell: TellPhase,
  save: () => void,
): Promise<void> {
  tell("saving", { done: 0, total: 1, left: 0 });
  if (run.writes) save();
  await world.waitForRank0("the save");
  tell("saving", { done: 1, total: 1, left: 0 });
}
