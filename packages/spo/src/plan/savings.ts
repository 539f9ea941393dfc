// The savings of each training and of sampling, free ones first. The sizes in a plan decide; no model is known here.
import type { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import type { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import type { TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { halved, type Saving } from "./fit.js";

/** Smallest side of images that is proposed, pixels. */
const SMALLEST = 256;

const whole = <S>(
  setting: keyof S & string,
  {
    cost,
    helps,
    of,
    least = 1,
  }: { cost: string; helps: RegExp; of: (settings: S) => number; least?: number },
): Saving<S> => ({
  key: setting,
  setting,
  cost,
  helps: (peakIn) => helps.test(peakIn),
  next: (settings) => {
    const value = halved(of(settings), least);
    return value === undefined
      ? undefined
      : { settings: { ...settings, [setting]: value }, value: `${value}` };
  },
});

const once = <S, V>(
  setting: keyof S & string,
  value: V,
  { cost, helps }: { cost: string; helps: RegExp },
): Saving<S> => ({
  key: setting,
  setting,
  cost,
  helps: (peakIn) => helps.test(peakIn),
  next: (settings) =>
    settings[setting] === value
      ? undefined
      : { settings: { ...settings, [setting]: value }, value: `${value}` },
});

const ANY = /./;
const checkpointing = { cost: "more time for the updates, the same result", helps: /update/ };
const slicing = { cost: "nothing but a little time", helps: /decode|encode|noising/ };
const tiling = { cost: "slightly other pixels", helps: /decode|encode|noising/ };
const half = { cost: "rounding: what learns stays float32", helps: ANY };
const frozen = { cost: "rounding of a model that does not learn", helps: ANY };

/** Encoded prompts on disk, where the training does without the text encoders then. */
const cached = <S extends { promptCache: string | null }>(fits: (settings: S) => boolean): Saving<S> => ({
  ...once<S, string>("promptCache", "./prompt-cache", {
    cost: "a file a prompt on disk",
    helps: /^(?!text)/,
  }),
  fits,
});

/** Whether the text encoders are no part of what learns or is written. */
const isApart = ({ adapter, textEncoders }: { adapter: string; textEncoders: boolean }): boolean =>
  adapter === "lora" && !textEncoders;

/** The base in 8 bits, where it is frozen. */
const inInt8 = <S extends { adapter: string; baseDtype: "int8" | null }>(): Saving<S> => ({
  ...once<S, string>("baseDtype", "int8", {
    cost: "weights that do not learn are rounded to 8 bits; more time",
    helps: /^(?!text)/,
  }),
  fits: ({ adapter }) => adapter === "lora",
});

/** Images of a smaller side; `own`: the model's, pixels. */
const resolution = <S extends { resolution: number | null }>(own: number, step: number): Saving<S> => ({
  key: "resolution",
  setting: "resolution",
  cost: "smaller images than the model was made for",
  helps: () => true,
  next: (settings) => {
    const side = (settings.resolution ?? own) - Math.max(step, 64);
    if (side < SMALLEST || side % step !== 0) return undefined;
    return { settings: { ...settings, resolution: side }, value: `${side}` };
  },
});

/** The side that a model was made for, and what sides must be a multiple of, pixels. */
export interface Side {
  own: number;
  multiple: number;
}

/** Of SPO: candidates and prompts a round come after what costs time or digits alone. */
export const spoSavings = ({ own, multiple }: Side): Saving<TrainSpoConfig>[] => [
  whole("microBatch", { cost: "nothing but a little time", helps: /update/, of: (c) => c.microBatch }),
  once("gradientCheckpointing", true, checkpointing),
  once("vaeSlicing", true, slicing),
  whole("samplingBatch", {
    cost: "nothing but a little time",
    helps: /sampling/,
    of: (c) => c.samplingBatch ?? c.candidates * c.promptsPerRound,
  }),
  cached<TrainSpoConfig>(isApart),
  {
    ...once<TrainSpoConfig, boolean>("offload", true, {
      cost: "the time to move VAE and judge twice a round",
      helps: /update|optimizer/,
    }),
    fits: ({ device }) => device !== "cpu",
  },
  once("dtype", "bfloat16", half),
  once("vaeDtype", "bfloat16", frozen),
  once("spmDtype", "bfloat16", frozen),
  once("vaeTiling", true, tiling),
  inInt8<TrainSpoConfig>(),
  whole("promptsPerRound", {
    cost: "fewer prompts a round",
    helps: /text|sampling|decode|judge/,
    of: (c) => c.promptsPerRound,
  }),
  whole("candidates", {
    cost: "fewer images to choose between",
    helps: /sampling|decode|judge/,
    of: (c) => c.candidates,
    least: 2,
  }),
  resolution(own, multiple),
];

/** Of Diffusion-DPO; a LoRA in place of the whole UNet comes late, since it changes what is learnt. */
export const dpoSavings = ({ own, multiple }: Side): Saving<TrainDpoConfig>[] => [
  whole("microBatch", {
    cost: "nothing but a little time",
    helps: /text|encode|update/,
    of: (c) => Math.min(c.microBatch, c.batch),
  }),
  once("gradientCheckpointing", true, checkpointing),
  once("vaeSlicing", true, slicing),
  cached<TrainDpoConfig>(isApart),
  once("dtype", "bfloat16", half),
  once("vaeDtype", "bfloat16", frozen),
  once("vaeTiling", true, tiling),
  inInt8<TrainDpoConfig>(),
  once("adapter", "lora", { cost: "a LoRA learns in place of the whole UNet", helps: ANY }),
  resolution(own, multiple),
];

/** Moments in 8 bits, and with them weights and gradients in half precision. */
const eightBit = (more: { dtype?: "bfloat16" }): Saving<TrainSpmConfig> => ({
  key: more.dtype ? "dtype" : "optimizer",
  setting: more.dtype ? "dtype" : "optimizer.kind",
  cost: more.dtype ? "weights are rounded at random" : "rounding of AdamW's moments",
  helps: () => true,
  next: (config) =>
    config.dtype === "bfloat16" || (!more.dtype && config.optimizer.kind === "adamw8bit")
      ? undefined
      : {
          settings: { ...config, ...more, optimizer: { ...config.optimizer, kind: "adamw8bit" } },
          value: more.dtype ?? "adamw8bit",
        },
});

/** Of a preference model. */
export const spmSavings = ({ own, multiple }: Side): Saving<TrainSpmConfig>[] => [
  whole("microBatch", {
    cost: "nothing but a little time",
    helps: /text|relabelling|noising|update/,
    of: (c) => Math.min(c.microBatch ?? c.batch, c.batch),
  }),
  once("gradientCheckpointing", true, checkpointing),
  once("vaeSlicing", true, slicing),
  cached<TrainSpmConfig>(({ kind, teacher }) => kind !== "latent" && teacher === null),
  once("baseDtype", "bfloat16", frozen),
  once("vaeDtype", "bfloat16", frozen),
  eightBit({}),
  eightBit({ dtype: "bfloat16" }),
  once("vaeTiling", true, tiling),
  whole("batch", { cost: "fewer pairs a step", helps: /noising/, of: (c) => c.batch }),
  resolution(own, multiple),
];

/** What of `npx spo sample` decides on memory. */
export interface SampleSizes {
  batch: number;
  dtype: string;
  promptCache?: string;
  vaeSlicing?: boolean;
  vaeTiling: string;
  /** Pixels. */
  width: number;
  height: number;
}

/** Of sampling. */
export const sampleSavings = <S extends SampleSizes>(): Saving<S>[] => [
  {
    ...once<S, boolean>("vaeSlicing", true, { cost: "nothing but a little time", helps: /decode/ }),
    setting: "vae-slicing",
  },
  whole<S>("batch", { cost: "fewer images at once", helps: ANY, of: (s) => s.batch }),
  {
    ...once<S, string>("promptCache", "./prompt-cache", {
      cost: "a file a prompt on disk",
      helps: /^(?!text)/,
    }),
    setting: "prompt-cache",
  },
  {
    ...once<S, string>("vaeTiling", "on", { cost: "slightly other pixels", helps: /decode/ }),
    setting: "vae-tiling",
  },
  once<S, string>("dtype", "bfloat16", { cost: "rounding", helps: ANY }),
];
