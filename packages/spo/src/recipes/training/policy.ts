// What a training teaches, and the base that it is measured against: an adapter that can be switched off, or a whole model and a frozen copy.
import { join } from "node:path";
import {
  addLora,
  type GuidedConditions,
  type StableDiffusion,
  type StableDiffusionXL,
  saveLora,
  UNet2DConditionModel,
  type WriteLoraOptions,
} from "@spo/diffusion";
import { copyWeights, keep, type Tensor } from "@spo/torch";
import { generatorAt } from "../../randomness.js";
import { type Denoiser, guidedDenoiser } from "../../resampler/denoiser.js";
import type { Precision } from "./precision.js";

/** The policy and the base that it must not leave. */
export interface Policy {
  trained: Tensor[];
  module: { namedParameters(): Map<string, Tensor> };
  /** Both for the same prompts, one row each. guidanceScale 1: the conditional prediction alone. */
  denoisers: (
    conditions: GuidedConditions,
    guidanceScale: number,
  ) => { policy: Denoiser; reference: Denoiser };
  /** Samples with the policy as cheaply as may be. */
  sampling: <T>(fn: () => T) => T;
  /** Writes the adapter as options say, or the whole pipeline in half precision. */
  save: (folder: string, options: WriteLoraOptions) => void;
}

/** Settings of a recipe that say what learns. */
export interface PolicySettings {
  adapter: "lora" | "full";
  /** Of the LoRA. */
  rank: number;
  seed: number;
}

/** Prepares a pipeline's UNet for a training. Its other models stay as they are. */
export function makePolicy(
  pipe: StableDiffusion | StableDiffusionXL,
  { adapter, rank, seed }: PolicySettings,
  precision: Precision,
): Policy {
  const { unet } = pipe;
  const around = (call: () => Tensor): Tensor => precision.around(call);
  if (adapter === "lora") {
    const lora = addLora(unet, { rank }, generatorAt(seed, "lora"));
    return {
      trained: lora.parameters(),
      module: lora,
      denoisers: (conditions, guidanceScale) => {
        const shared = { unet, ...conditions, guidanceScale };
        return {
          policy: guidedDenoiser({ ...shared, around }),
          reference: guidedDenoiser({ ...shared, around: (call) => lora.without(() => around(call)) }),
        };
      },
      sampling: (fn) => (precision.merges ? lora.merged(fn) : fn()),
      save: (folder, options) =>
        saveLora(join(folder, "pytorch_lora_weights.safetensors"), lora, unet, options),
    };
  }
  const frozen = new UNet2DConditionModel(unet.config);
  copyWeights(unet, frozen);
  precision.freeze(frozen);
  keep(frozen.parameters());
  unet.requiresGrad_();
  return {
    trained: unet.parameters(),
    module: unet,
    denoisers: (conditions, guidanceScale) => {
      const shared = { ...conditions, guidanceScale, around };
      return {
        policy: guidedDenoiser({ unet, ...shared }),
        reference: guidedDenoiser({ unet: frozen, ...shared }),
      };
    },
    sampling: (fn) => fn(),
    save: (folder) => pipe.save(folder, { dtype: "float16" }),
  };
}
