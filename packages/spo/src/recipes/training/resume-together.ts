import type { DataFacts } from "@spo/records";
import { noGrad } from "@spo/torch";
import { requireSame } from "@spo/torch/distributed";
import type { RecipeContext } from "../recipe.js";
import { restoreTrainingState, stateTensors, type TrainingState } from "./training-state.js";

/**
 * The step to go on with, 0 for a new run: rank 0 reads the newest checkpoint and gives its state to the others, however many there were.
 *
 * settings: all but places and device, which may differ. data: digests. Throws a UserError in every process where they differ.
 */
export async function resumeTogether(
  { run, world }: Pick<RecipeContext, "run" | "world">,
  state: TrainingState,
  { settings, data }: { settings: object; data: DataFacts },
): Promise<number> {
  const words = Object.entries(settings).map(([name, value]) => [name, JSON.stringify(value)]);
  await requireSame(world, "settings", Object.fromEntries(words));
  await requireSame(world, "data", data);
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
