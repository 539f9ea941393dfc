// Models in the layout of diffusers' and transformers' `save_pretrained`: a folder with config.json and weights.
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  type Device,
  type DType,
  keep,
  type LoadOptions,
  loadWeights,
  type Module,
  openWeights,
  scope,
  storedWeights,
  type Tensor,
  UserError,
  type WeightsFile,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { makeFolder } from "@spo/torch/files";
import { requireObject } from "@spo/torch/text-files";
import { readJsonObject } from "../config.js";
import { AutoencoderKL, type AutoencoderKLConfig } from "../models/autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { type T5Config, T5EncoderModel } from "../models/t5-encoder.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "../models/unet-2d-condition.js";
import { type Misfit, refuseMisfits } from "./misfits.js";
import { scaledFloat8 } from "./scaled-float8.js";

/** How a model's weights are placed: element type and device. */
export interface PlaceOptions {
  /** Default float32, whatever the file has. */
  dtype?: DType;
  device?: Device;
}

/** As `PlaceOptions`, or `stored`: what the file has. */
export interface KeepingOptions extends Omit<PlaceOptions, "dtype"> {
  dtype?: DType | "stored";
}

/** @internal What text encoders and VAE are placed with, beside a denoiser of that placement. */
export const besideDenoiser = ({ dtype, device }: KeepingOptions): KeepingOptions => ({
  dtype: dtype === "stored" ? dtype : undefined,
  device,
});

/** A model with the config.json that its folder holds. */
export interface StoredModel extends Module {
  readonly config: object;
  /** What transformers calls its kind in config.json; absent for diffusers' models. */
  readonly modelType?: string;
}

/** What is read of a model's folder, and how it is placed. */
export interface FolderOptions extends KeepingOptions {
  /** Of the files: `fp16` for `….fp16.safetensors`. Default: the plain files, or the fp16 ones where there are no others. */
  variant?: string;
}

const DIFFUSERS_WEIGHTS = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
const TRANSFORMERS_WEIGHTS = ["model.safetensors", "pytorch_model.bin"];

/** Tried last when no variant is asked for: some published folders have nothing else. */
const USUAL_VARIANT = "fp16";

/**
 * Weights of a model folder by name: the first of `names` that is there, as one file or as shards with an index. Mapped, not read.
 *
 * variant: `fp16` for `model.fp16.safetensors`; only its files are then taken. Throws a UserError (`DATA`) that names the files looked for,
 * or every shard and weight that is missing.
 */
export function readWeights(
  folder: string,
  names: readonly string[],
  { variant }: { variant?: string } = {},
): { source: string; weights: Map<string, Tensor> } {
  const variants = variant === undefined ? [undefined, USUAL_VARIANT] : [variant];
  for (const each of variants) {
    for (const name of names) {
      const file = withVariant(name, each);
      if (existsSync(join(folder, file))) {
        using opened = openWeights(join(folder, file));
        return { source: opened.path, weights: opened.tensors() };
      }
      // Two spellings are published: model.safetensors.index.fp16.json, and the older model.fp16.safetensors.index.json.
      const indices = new Set([
        each ? `${name}.index.${each}.json` : `${name}.index.json`,
        `${file}.index.json`,
      ]);
      for (const index of indices) {
        const path = join(folder, index);
        if (existsSync(path)) return { source: path, weights: readShards(folder, path) };
      }
    }
  }
  const wanted = names.map((name) => withVariant(name, variant)).join(", ");
  throw new UserError(`${folder} has no weights: looked for ${wanted}, in one file or in shards.`, {
    code: "DATA",
    hint: "Give a folder as save_pretrained writes it.",
  });
}

/** `model.safetensors` → `model.fp16.safetensors` */
function withVariant(name: string, variant: string | undefined): string {
  const dot = name.lastIndexOf(".");
  return variant ? `${name.slice(0, dot)}.${variant}${name.slice(dot)}` : name;
}

function readShards(folder: string, index: string): Map<string, Tensor> {
  const { weight_map: map } = readJsonObject(index, { large: true });
  const places = requireObject(map, `${index}: weight_map`) as Record<string, string>;
  const faults: Misfit[] = [];
  const shards = new Map<string, WeightsFile>();
  const weights = new Map<string, Tensor>();
  try {
    for (const shard of new Set(Object.values(places))) {
      if (typeof shard !== "string" || basename(shard) !== shard || shard === "..")
        faults.push([
          typeof shard === "string" ? shard : JSON.stringify(shard).slice(0, 80),
          typeof shard === "string" ? "lies outside the folder" : "is no file name",
        ]);
      else if (!existsSync(join(folder, shard))) faults.push([shard, "this shard is missing"]);
      else shards.set(shard, openWeights(join(folder, shard)));
    }
    for (const [name, shard] of Object.entries(places)) {
      const file = shards.get(shard);
      if (file && !file.has(name)) faults.push([name, `is not in ${shard}, where the index has it`]);
    }
    refuseMisfits(`${index} does not fit its shards`, faults, "Copy or download the whole folder again.");
    for (const [name, shard] of Object.entries(places))
      weights.set(name, (shards.get(shard) as WeightsFile).get(name));
  } finally {
    for (const file of shards.values()) file.close();
  }
  return weights;
}

/** The names that published VAEs before diffusers 0.13 have for their attention, and those of the original code. */
const OLD_ATTENTION: readonly [RegExp, string][] = [
  [/(attentions\.\d+)\.(?:query|q)\./, "$1.to_q."],
  [/(attentions\.\d+)\.(?:key|k)\./, "$1.to_k."],
  [/(attentions\.\d+)\.(?:value|v)\./, "$1.to_v."],
  [/(attentions\.\d+)\.(?:proj_attn|proj_out)\./, "$1.to_out.0."],
  [/(attentions\.\d+)\.norm\./, "$1.group_norm."],
];

/** Renames old attention names and turns 1×1 convolutions of attention into linear maps. */
function renewVaeNames(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const renewed = new Map<string, Tensor>();
  for (const [name, value] of weights) {
    const now = OLD_ATTENTION.reduce((text, [from, to]) => text.replace(from, to), name);
    renewed.set(now, /attentions\.\d+\.to_/.test(now) && value.ndim === 4 ? value.flatten(1) : value);
  }
  return renewed;
}

/** Text encoders are published with and without the prefix `text_model.`, and with an int64 buffer of positions. */
function renewTextNames(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const renewed = new Map<string, Tensor>();
  for (const [name, value] of weights) {
    if (name.endsWith("position_ids")) continue;
    renewed.set(/^(embeddings|encoder|final_layer_norm)\./.test(name) ? `text_model.${name}` : name, value);
  }
  return renewed;
}

/** Gives a model the weights of a file, which are then disposed of; the parameters belong to no scope. */
export function place<M extends Module>(
  model: M,
  weights: ReadonlyMap<string, Tensor>,
  source: string,
  { dtype = "float32", device, onUnused }: KeepingOptions & Pick<LoadOptions, "onUnused">,
): M {
  try {
    const kept = dtype === "stored" ? undefined : dtype;
    loadWeights(model, weights, { source, dtype: kept, device, consume: true, onUnused });
  } finally {
    for (const tensor of weights.values()) tensor.dispose();
  }
  keep(model.parameters());
  return model;
}

type Weights = ReadonlyMap<string, Tensor>;

/**
 * The model with the weights of its folder. In a scope: outside of one, each tensor over the file would report its size to the garbage
 * collector, which then runs a dozen times while gigabytes are mapped.
 */
function filled<M extends Module>(
  model: M,
  folder: string,
  names: readonly string[],
  options: FolderOptions,
  renamed: (weights: Weights) => Weights = (weights) => weights,
): M {
  scope(() => {
    const { source, weights } = readWeights(folder, names, options);
    place(model, renamed(scaledFloat8(weights)), source, options);
  });
  return model;
}

/** className: what diffusers calls the model; a folder of another class is refused before its fields are looked at. */
const configOf = (folder: string, className?: string): Record<string, unknown> => {
  if (!existsSync(folder)) {
    throw new UserError(`${folder} does not exist.`, {
      code: "DATA",
      hint: existsSync(join(dirname(folder), "model_index.json"))
        ? `The pipeline's ${basename(folder)} belongs there: config.json and weights, as another copy of the model has them.`
        : "Give a model folder in diffusers layout.",
    });
  }
  const config = readJsonObject(join(folder, "config.json"));
  const found = config._class_name ?? className;
  if (className && found !== className)
    throw new UserError(
      `${folder} holds the class ${typeof found === "string" ? found : JSON.stringify(found)}; supported here: ${className}.`,
      {
        code: "CONFIG",
      },
    );
  return config;
};

/** @internal Changes a config before a model is made of it; path: of the file. */
export type Repair<C> = (config: C, path: string) => C;

/** Folder of an AutoencoderKL. Throws UserErrors for what is missing, damaged, unsupported or does not fit. */
export function loadVae(
  folder: string,
  options: FolderOptions = {},
  repair: Repair<AutoencoderKLConfig> = (config) => config,
): AutoencoderKL {
  const config = configOf(folder, "AutoencoderKL") as AutoencoderKLConfig;
  const model = new AutoencoderKL(repair(config, join(folder, "config.json")));
  return filled(model, folder, DIFFUSERS_WEIGHTS, options, renewVaeNames);
}

/** Folder of a model of diffusers that has one class and whose names were never others: a transformer. */
export function loadTransformer<C, M extends StoredModel>(
  folder: string,
  Model: new (config: C) => M,
  options: FolderOptions = {},
): M {
  return filled(new Model(configOf(folder, Model.name) as C), folder, DIFFUSERS_WEIGHTS, options);
}

/** Folder of a UNet2DConditionModel. mayLackWayUp: takes weights without any of the way up as well, for a model that never runs it. */
export function loadUnet(
  folder: string,
  { mayLackWayUp = false, ...options }: FolderOptions & { mayLackWayUp?: boolean } = {},
  repair: Repair<UNet2DConditionConfig> = (config) => config,
): UNet2DConditionModel {
  const config = configOf(folder, "UNet2DConditionModel") as UNet2DConditionConfig;
  const model = new UNet2DConditionModel(repair(config, join(folder, "config.json")));
  return filled(model, folder, DIFFUSERS_WEIGHTS, options, (weights) => {
    if (mayLackWayUp && ![...weights.keys()].some((name) => name.startsWith("up_blocks."))) model.dropWayUp();
    return weights;
  });
}

/** The config of a folder's text tower, which may be that of a whole CLIP. Source: transformers 5, CLIPTextConfig. */
function textConfigOf(folder: string): CLIPTextConfig {
  const whole = configOf(folder);
  const nested = whole.text_config;
  const text =
    nested === undefined ? whole : requireObject(nested, `${join(folder, "config.json")}: text_config`);
  return { eos_token_id: 49407, ...text } as CLIPTextConfig;
}

/** Folder of a CLIPTextModel. */
export function loadTextEncoder(folder: string, options: FolderOptions = {}): CLIPTextModel {
  const model = new CLIPTextModel(textConfigOf(folder));
  return filled(model, folder, TRANSFORMERS_WEIGHTS, options, renewTextNames);
}

/** Folder of a CLIPTextModelWithProjection: SDXL's second text encoder. */
export function loadTextEncoderWithProjection(
  folder: string,
  options: FolderOptions = {},
): CLIPTextModelWithProjection {
  const model = new CLIPTextModelWithProjection(textConfigOf(folder));
  return filled(model, folder, TRANSFORMERS_WEIGHTS, options, renewTextNames);
}

/** @internal A whole T5 has a decoder, and some files the embeddings twice, or under the encoder's name alone. */
export function renewT5Names(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const renewed = new Map(
    [...weights].filter(([name]) => !/^(decoder\.|lm_head\.|encoder\.embed_tokens\.)/.test(name)),
  );
  const embeddings = weights.get("shared.weight") ?? weights.get("encoder.embed_tokens.weight");
  return embeddings ? renewed.set("shared.weight", embeddings) : renewed;
}

/** Folder of a T5EncoderModel, or of a whole T5 of version 1.1. */
export function loadT5Encoder(folder: string, options: FolderOptions = {}): T5EncoderModel {
  const model = new T5EncoderModel(configOf(folder) as T5Config);
  return filled(model, folder, TRANSFORMERS_WEIGHTS, options, renewT5Names);
}

/** transformers 5 refuses a whole number where a fraction is meant, and JavaScript writes 1.0 as 1. */
const withFractions = (json: string): string =>
  json.replace(/("(?:\w*dropout|initializer_\w+|layer_norm_eps)": -?\d+)(?=,?\n)/g, "$1.0");

/**
 * Writes a model's folder: config.json and one safetensors file, each whole or not at all.
 *
 * dtype: of the file, default the parameters' own. float16 halves the size; loading gives float32 again. variant: a part of the file's
 * name, `fp16` by custom. Fuse adapters first. Throws a UserError (`NUMERIC`) that names weights which are not finite in the file, and
 * writes nothing.
 */
export function saveModel(
  folder: string,
  model: StoredModel,
  { dtype, variant }: { dtype?: DType; variant?: string } = {},
): void {
  const { modelType } = model;
  const name = (modelType ? TRANSFORMERS_WEIGHTS : DIFFUSERS_WEIGHTS)[0] as string;
  const path = join(folder, withVariant(name, variant));
  const tensors = storedWeights(model.namedParameters(), { dtype, place: path });
  makeFolder(folder);
  const className = modelType
    ? { architectures: [model.constructor.name], model_type: modelType }
    : { _class_name: model.constructor.name };
  writeFileAtomic(
    join(folder, "config.json"),
    `${withFractions(JSON.stringify({ ...className, ...model.config }, null, 2))}\n`,
  );
  writeSafetensors(path, tensors, { format: "pt" });
  if (dtype) for (const tensor of tensors.values()) tensor.dispose();
}
