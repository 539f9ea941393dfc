import { join } from "node:path";
import type { CheckpointFiles } from "@spo/records";
import {
  type Ema,
  type LossScaler,
  noGrad,
  notFinite,
  type Optimizer,
  openSafetensors,
  safetensorsContents,
  type Tensor,
  UserError,
} from "@spo/torch";

/** The file of a checkpoint that has a training's state. */
export const STATE_FILE = "training-state.safetensors";

/** What a recipe has to save to go on bit for bit. Everything random is a function of the step, so no generator is among it. */
export interface TrainingState {
  modules: Readonly<Record<string, { namedParameters(): Map<string, Tensor> } | undefined>>;
  optimizer: Optimizer;
  ema?: Ema;
  /** Of a training in float16. */
  scaler?: LossScaler;
  /** What a recipe keeps beside them, in files of its own in the checkpoint's folder. */
  beside?: { files(): CheckpointFiles; restore(folder: string): void };
}

/** All that is saved, by name. */
export function stateTensors({ modules, optimizer, ema, scaler }: TrainingState): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  for (const [name, module] of Object.entries(modules)) {
    for (const [key, value] of module?.namedParameters() ?? []) found.set(`${name}/${key}`, value);
  }
  for (const [key, value] of optimizer.state()) found.set(`optimizer/${key}`, value);
  for (const [key, value] of ema?.state() ?? []) found.set(`ema/${key}`, value);
  for (const [key, value] of scaler?.state() ?? []) found.set(`scaler/${key}`, value);
  return found;
}

/**
 * The files of a checkpoint: `training-state.safetensors`, and what the recipe keeps beside it.
 *
 * Throws a UserError (`NUMERIC`) where a value is not finite.
 */
export function trainingStateFiles(state: TrainingState): CheckpointFiles {
  const tensors = stateTensors(state);
  const bad = notFinite(tensors);
  if (bad.length > 0) {
    throw new UserError(`Not saved: ${bad.length} tensors are not finite, ${bad[0]} among them.`, {
      code: "NUMERIC",
      hint: "Lower the learning rate; the last checkpoint is good.",
    });
  }
  return { [STATE_FILE]: safetensorsContents(tensors), ...state.beside?.files() };
}

/** Copies a saved state into live modules, optimizer and average. Throws where names or shapes differ. */
export function restoreTrainingState(folder: string, state: TrainingState): void {
  using file = openSafetensors(join(folder, STATE_FILE));
  noGrad(() => {
    for (const [name, target] of stateTensors(state)) {
      using saved = file.get(name);
      target.detach().copy_(saved);
    }
  });
  state.beside?.restore(folder);
}
