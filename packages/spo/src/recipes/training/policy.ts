// What a training changes, and the base that it is compared with: an adapter that can be switched off, or a whole model and a frozen copy.
import { join } from "node:path";
import {
  type Denoiser,
  type GuidedConditions,
  guidedDenoiser,
  type TextToImage,
  type WriteLoraOptions,
} from "@spo/diffusion";
import { copyWeights, Ema, generatorAt, keep, powerDecay, type Tensor, UserError } from "@spo/torch";
import { type AdapterSettings, PolicyAdapter } from "./policy-adapter.js";
import type { Precision } from "./precision.js";
import { saveInHalf } from "./save-in-half.js";

/** Weights by name. */
export interface Weights {
  namedParameters(): Map<string, Tensor>;
}

/** The conditions of the prompts at some places, by the text encoders as they are now: one row each, on both sides. */
export type EncodeRows = (places: readonly number[]) => GuidedConditions;

/** The policy and its reference. */
export interface Policy {
  trained: Tensor[];
  /** The weights of a reference that is a copy. */
  frozen: readonly Tensor[];
  /** Its part of a checkpoint: the weights that learn, and their moving average if there is one. */
  modules: { policy: Weights; average?: Weights };
  /** Takes the values of a LoRA's file, as `PolicyAdapter.load`. Throws a UserError (`CONFIG`) where the whole model learns. */
  loadLora: (path: string) => void;
  /** Takes the weights into the average, after the training's step `step`, 0 for the first. */
  updateEma: (step: number) => void;
  /** Does something with the weights that are the result: the average, where there is one. */
  withEmaWeights: <T>(fn: () => T) => T;
  /**
   * Both for the same prompts, one row each. guidanceScale 1: the conditional prediction alone.
   *
   * conditions: by the base's text encoders. encode: of the same prompts, for a policy whose text encoders learn.
   */
  denoisers: (
    conditions: GuidedConditions,
    guidanceScale: number,
    encode: EncodeRows,
  ) => { policy: Denoiser; reference: Denoiser };
  /** Runs `fn` with the text encoders of the base. */
  withBaseTexts: <T>(fn: () => T) => T;
  /** Runs `fn` with the cheapest form of the policy: a LoRA is merged where that loses no bits. */
  withMergedAdapter: <T>(fn: () => T) => T;
  /** Writes the result: the adapter as options say, or the whole pipeline, in half precision where that is finite. */
  save: (folder: string, options: WriteLoraOptions) => void;
}

/** Settings of a recipe that say what learns. */
export interface PolicySettings extends AdapterSettings {
  adapter: "lora" | "full";
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
    const lora = new PolicyAdapter(pipe, settings, (part) =>
      generatorAt(seed, part === undefined ? "lora" : `lora ${part}`),
    );
    const averaged = averageOf(lora, ema);
    return {
      trained: [...lora.namedParameters().values()],
      frozen: [],
      ...averaged,
      loadLora: (path) => lora.load(path),
      denoisers: (conditions, guidanceScale, encode) => {
        const shared = { model, ...conditions, guidanceScale };
        const policy = guidedDenoiser({ ...shared, around });
        return {
          policy:
            lora.texts.size === 0
              ? policy
              : encodingDenoiser(policy, encode, (told) =>
                  guidedDenoiser({ model, ...told, guidanceScale, around }),
                ),
          reference: guidedDenoiser({
            ...shared,
            around: (call) => lora.denoiser.without(() => around(call)),
          }),
        };
      },
      withBaseTexts: (fn) => lora.withBaseTexts(fn),
      withMergedAdapter: (fn) => (precision.merges ? lora.denoiser.merged(fn) : fn()),
      save: (folder, options) => {
        const path = join(folder, "pytorch_lora_weights.safetensors");
        const { prediction } = pipe.process;
        // The specification has no word for a flow's.
        const predictionType =
          prediction === "flow_prediction" ? undefined : prediction === "v_prediction" ? "v" : "epsilon";
        const description = { ...options.description, predictionType } as const;
        averaged.withEmaWeights(() => lora.save(path, { ...options, description }));
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
    loadLora: (path) => {
      throw new UserError(`${path} is a LoRA, and the whole model learns (adapter: full).`, {
        code: "CONFIG",
        hint: "Merge it into the model, `npx spo convert MODEL --lora FILE --output FOLDER`, and train that.",
      });
    },
    denoisers: (conditions, guidanceScale) => {
      const shared = { ...conditions, guidanceScale, around };
      return {
        policy: guidedDenoiser({ model, ...shared }),
        reference: guidedDenoiser({ model: frozen, ...shared }),
      };
    },
    withBaseTexts: (fn) => fn(),
    withMergedAdapter: (fn) => fn(),
    save: (folder) => averaged.withEmaWeights(() => saveInHalf(pipe, folder)),
  };
}

/** A denoiser that encodes its prompts anew for each list of rows, each prompt once. The first denoiser tells how many passes it makes. */
const encodingDenoiser = (
  { samplePasses }: Denoiser,
  encode: EncodeRows,
  open: (told: GuidedConditions) => Denoiser,
): Denoiser => ({
  samplePasses,
  forRows(rows) {
    const distinct = [...new Set(rows)];
    return open(encode(distinct)).forRows(rows.map((row) => distinct.indexOf(row)));
  },
});

/** Settings of a LoRA where there is none would be without effect. */
function refuseOfLora({ alpha, targets, textEncoders }: PolicySettings): void {
  const given = [alpha !== null && "alpha", targets !== null && "targets", textEncoders && "textEncoders"];
  const names = given.filter((name) => name !== false);
  if (names.length === 0) return;
  throw new UserError(`${names.join(" and ")}: of a LoRA, and adapter is full.`, {
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
