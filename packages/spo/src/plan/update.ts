// What a training has beside its forward and backward passes.
import { type Optimizer, scope, type Tensor, zerosLike } from "@spo/torch";
import { requireFrozenBase } from "../recipes/training/load-base.js";
import { makeOptimizer, type OptimizerSettings } from "../recipes/training/optimizer.js";
import { makePolicy, type Policy, type PolicySettings } from "../recipes/training/policy.js";
import {
  Precision,
  type PrecisionSettings,
  setUpVae,
  type VaeSettings,
} from "../recipes/training/precision.js";
import type { Job, Phase } from "./job.js";
import { bytesOf, modulesOf, type PlannedModels } from "./models.js";

/**
 * What SPO and Diffusion-DPO train, and the memory that it holds throughout. data: bytes.
 */
export function planPolicy(
  models: PlannedModels,
  config: PolicySettings & PrecisionSettings & VaeSettings,
  { optimizer: settings, data }: { optimizer: OptimizerSettings; data: number },
): { policy: Policy; precision: Precision; optimizer: Optimizer; memory: Job["memory"] } {
  requireFrozenBase(config);
  setUpVae(models.vae, config);
  const weights = weightsOf(models);
  const precision = new Precision(config, models);
  const policy = makePolicy(models.pipe, config, precision);
  const learns = bytesOf(policy.trained);
  const optimizer = makeOptimizer(policy.trained, settings, config.seed);
  const memory = {
    weights: weights + bytesOf(policy.frozen),
    trained: config.adapter === "lora" ? learns : 0,
    optimizer: momentsOf(optimizer) + (config.ema > 0 ? learns : 0),
    data,
  };
  return { policy, precision, optimizer, memory };
}

/** Bytes of what an optimizer remembers, but for its counts of steps. */
export const momentsOf = (optimizer: Optimizer): number =>
  bytesOf([...optimizer.state()].flatMap(([name, value]) => (name.startsWith("step.") ? [] : [value])));

/** Bytes of all models. */
export const weightsOf = (models: PlannedModels): number =>
  bytesOf(modulesOf(models).flatMap((module) => module.parameters()));

/**
 * The gradients of a part of a batch. inParts: whether those of a part before it are there, to which they are added.
 *
 * It leaves none.
 */
export function update(trained: readonly Tensor[], inParts: boolean, backward: () => void): void {
  if (inParts) giveGradients(trained);
  scope(backward);
  for (const parameter of trained) parameter.grad = undefined;
}

/** One step of the optimizer. It makes no tensors worth the name, and on `meta` it has nothing to compute. */
export const optimizerPhase = (trained: readonly Tensor[], optimizer: Optimizer, runs: number): Phase => ({
  name: "optimizer",
  runs,
  body: () =>
    update(trained, true, () => {
      if (trained[0]?.device !== "meta") optimizer.step();
    }),
});

function giveGradients(trained: readonly Tensor[]): void {
  scope(() => {
    for (const parameter of trained) parameter.grad = zerosLike(parameter);
  });
}
