import type { DataFacts } from "@spo/records";
import { noGrad } from "@spo/torch";
import type { RecipeContext } from "../recipe.js";
import { requireSameWork } from "./require-same-work.js";
import { restoreTrainingState, stateTensors, type TrainingState } from "./training-state.js";

/**
 * The step to go on with, 0 for a new run: rank 0 reads the newest checkpoint and gives its state to the others, however many there were.
 *
 * settings, data: as for `requireSameWork`, which throws where they differ.
 */
export async function resumeTogether(
  { run, world }: Pick<RecipeContext, "run" | "world">,
  state: TrainingState,
  { settings, data }: { settings: object; data: DataFacts },
): Promise<number> {
  await requireSameWork(world, settings, data);
  const mine = world.rank === 0 ? run.resume((folder) => restoreTrainingState(folder, state)) : 0;
  const [step = 0] = await world.gather(mine);
  if (world.size === 1 || step === 0) return step;
  for (const tensor of stateTensors(state).values()) {
    const plain = noGrad(() => tensor.detach());
    await world.broadcast(plain);
    plain.dispose();
  }
  return step;
}
