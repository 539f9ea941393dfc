// What a training changes, and the base that it is compared with: an adapter that can be switched off, or a whole model and a frozen copy.
import { join } from "node:path";
import {
  addFamilyLora,
  type Denoiser,
  type DenoiserModel,
  type GuidedConditions,
  guidedDenoiser,
  type Lora,
  saveLora,
  type TextToImage,
  type WriteLoraOptions,
} from "@spo/diffusion";
import {
  copyWeights,
  Ema,
  type Generator,
  generatorAt,
  keep,
  powerDecay,
  type Tensor,
  UserError,
} from "@spo/torch";
import type { Precision } from "./precision.js";
import { saveInHalf } from "./save-in-half.js";

/** Weights by name. */
export interface Weights {
  namedParameters(): Map<string, Tensor>;
}

/** The policy and its reference. */
export interface Policy {
  trained: Tensor[];
  /** The weights of a reference that is a copy. */
  frozen: readonly Tensor[];
  /** Its part of a checkpoint: the weights that learn, and their moving average if there is one. */
  modules: { policy: Weights; average?: Weights };
  /** Takes the weights into the average, after the training's step `step`, 0 for the first. */
  updateEma: (step: number) => void;
  /** Does something with the weights that are the result: the average, where there is one. */
  withEmaWeights: <T>(fn: () => T) => T;
  /** Both for the same prompts, one row each. guidanceScale 1: the conditional prediction alone. */
  denoisers: (
    conditions: GuidedConditions,
    guidanceScale: number,
  ) => { policy: Denoiser; reference: Denoiser };
  /** Runs `fn` with the cheapest form of the policy: a LoRA is merged where that loses no bits. */
  withMergedAdapter: <T>(fn: () => T) => T;
  /** Writes the result: the adapter as options say, or the whole pipeline, in half precision where that is finite. */
  save: (folder: string, options: WriteLoraOptions) => void;
}

/** Settings of a recipe that say what learns. */
export interface PolicySettings {
  adapter: "lora" | "full";
  /** Of the LoRA; alpha null: the rank. targets: ends of its layers' names; null: the family's. */
  rank: number;
  alpha: number | null;
  targets: readonly string[] | null;
  /** Width of the average of weights; 0: none. */
  ema: number;
  seed: number;
}

/** Prepares a pipeline's denoiser for a training. Its other models stay as they are. */
export function makePolicy(pipe: TextToImage, settings: PolicySettings, precision: Precision): Policy {
  const { denoiser: model } = pipe;
  const { adapter, ema, seed } = settings;
  const around = (call: () => Tensor): Tensor => precision.around(call);
  if (adapter === "lora") {
    const lora = policyLora(model, settings, generatorAt(seed, "lora"));
    const averaged = averageOf(lora, ema);
    return {
      trained: lora.parameters(),
      frozen: [],
      ...averaged,
      denoisers: (conditions, guidanceScale) => {
        const shared = { model, ...conditions, guidanceScale };
        return {
          policy: guidedDenoiser({ ...shared, around }),
          reference: guidedDenoiser({ ...shared, around: (call) => lora.without(() => around(call)) }),
        };
      },
      withMergedAdapter: (fn) => (precision.merges ? lora.merged(fn) : fn()),
      save: (folder, options) => {
        const path = join(folder, "pytorch_lora_weights.safetensors");
        const predictionType = pipe.process.prediction === "v_prediction" ? "v" : "epsilon";
        const description = { ...options.description, predictionType } as const;
        averaged.withEmaWeights(() => saveLora(path, lora, model, { ...options, description }));
      },
    };
  }
  refuseOfLora(settings);
  const frozen = model.blank();
  copyWeights(model, frozen);
  precision.freeze(frozen);
  keep(frozen.parameters());
  model.requiresGrad_();
  const averaged = averageOf(model, ema);
  return {
    trained: model.parameters(),
    frozen: frozen.parameters(),
    ...averaged,
    denoisers: (conditions, guidanceScale) => {
      const shared = { ...conditions, guidanceScale, around };
      return {
        policy: guidedDenoiser({ model, ...shared }),
        reference: guidedDenoiser({ model: frozen, ...shared }),
      };
    },
    withMergedAdapter: (fn) => fn(),
    save: (folder) => averaged.withEmaWeights(() => saveInHalf(pipe, folder)),
  };
}

/** A policy's adapter, in front of its first update. Throws a UserError (`CONFIG`) for targets that name no layer. */
export function policyLora(
  model: DenoiserModel,
  { rank, alpha, targets }: Pick<PolicySettings, "rank" | "alpha" | "targets">,
  generator: Generator,
): Lora {
  return addFamilyLora(model, { rank, alpha: alpha ?? rank, targets: targets ?? undefined }, generator);
}

/** Settings of a LoRA where there is none would be without effect. */
function refuseOfLora({ alpha, targets }: PolicySettings): void {
  const given = [alpha !== null && "alpha", targets !== null && "targets"].filter((name) => name !== false);
  if (given.length === 0) return;
  throw new UserError(`${given.join(" and ")}: of a LoRA, and adapter is full.`, {
    code: "CONFIG",
    hint: "Leave them out, or set adapter to lora.",
  });
}

/** width: of the average; 0: none, and the result is the weights themselves. */
function averageOf(policy: Weights, width: number): Pick<Policy, "modules" | "updateEma" | "withEmaWeights"> {
  if (width === 0) return { modules: { policy }, updateEma: () => {}, withEmaWeights: (fn) => fn() };
  const named = policy.namedParameters();
  const ema = new Ema([...named.values()], powerDecay(width));
  const averages = [...ema.state().values()]; // in the parameters' order
  const average = new Map([...named.keys()].map((name, i) => [name, averages[i] as Tensor]));
  return {
    modules: { policy, average: { namedParameters: () => average } },
    updateEma: (step) => ema.update(step),
    withEmaWeights: (fn) => {
      ema.swap();
      try {
        return fn();
      } finally {
        ema.swap();
      }
    },
  };
}
