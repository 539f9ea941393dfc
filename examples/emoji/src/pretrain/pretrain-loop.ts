// What the loops of all pretrainings share: from a batch's gradients to the step's record and its checkpoint.

import { scope } from "@spo/torch";
import {
  checkpointIsDue,
  learningRateAt,
  type RecipeContext,
  type RecipeEvent,
  restoreTrainingState,
  type TrainingState,
  trainingStateFiles,
  type Update,
} from "spo/recipes";

/** What learns, and for how long. */
export interface Pretraining {
  config: { steps: number; lr: number; saveEvery: number };
  /** Of the whole training: what a checkpoint holds. */
  state: TrainingState;
  update: Update;
  /** Steps in which the learning rate rises. */
  warmup: number;
  /** The step at which it has fallen to 0 along half a cosine. Default: the last. */
  cosineSteps?: number;
  /** Draws the batch of a step, 0 for the first, and runs its loss backward → the step's metrics. Its tensors are freed. */
  backward: (step: number) => { loss: number; [metric: string]: number };
  /** After the update of a step, before its checkpoint: bounds, the average of the weights. */
  afterUpdate?: (step: number) => void;
}

/**
 * The steps that are left of a pretraining, each with its event; the run's newest checkpoint is resumed.
 *
 * Throws the signal's reason after a step and its checkpoint, and as `Update` does.
 */
export async function* pretrainingSteps(
  { run, signal }: Pick<RecipeContext, "run" | "signal">,
  { config, state, update, warmup, cosineSteps, backward, afterUpdate }: Pretraining,
): AsyncGenerator<RecipeEvent> {
  const { steps: total, lr, saveEvery: every } = config;
  const schedule = { lr, warmup, decay: "cosine", total: cosineSteps ?? total } as const;
  for (let step = run.resume((folder) => restoreTrainingState(folder, state)); step < total; step++) {
    const metrics = scope(() => backward(step));
    const rate = learningRateAt(step, schedule);
    const updated = await update.apply({ loss: metrics.loss, lr: rate, where: `step ${step + 1}` });
    for (const message of updated.warnings) yield* run.warn(message);
    afterUpdate?.(step);
    yield* run.step(step + 1, total, { ...metrics, ...updated.metrics, lr: rate });
    const save = { every, total, isSound: update.isSound, isAsked: signal.aborted };
    if (checkpointIsDue(step + 1, save))
      yield* run.save(step + 1, () => trainingStateFiles(state), { wait: signal.aborted });
    signal.throwIfAborted();
  }
  update.requireSound(`step ${total}`);
}
