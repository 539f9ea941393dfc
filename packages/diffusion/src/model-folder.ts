// Models in the layout of diffusers' and transformers' `save_pretrained`: a folder with config.json and safetensors.
import { existsSync, mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import {
  type Device,
  type DType,
  keep,
  loadWeights,
  type Module,
  openSafetensors,
  type Tensor,
  UserError,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { AutoencoderKL, type AutoencoderKLConfig } from "./autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModel } from "./clip-text.js";
import { readJson } from "./config.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "./unet-2d-condition.js";

export interface PlaceOptions {
  /** Default float32, whatever the file has. */
  dtype?: DType;
  device?: Device;
}

const DIFFUSERS_WEIGHTS = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"];
const TRANSFORMERS_WEIGHTS = ["model.safetensors", "model.fp16.safetensors"];

/**
 * Weights of a model folder by name: one file, its `fp16` variant, or shards with an index. Mapped, not read.
 *
 * Throws a UserError (`DATA`) that names the files looked for.
 */
export function readWeights(
  folder: string,
  names: readonly string[],
): { source: string; weights: Map<string, Tensor> } {
  for (const name of names) {
    const path = join(folder, name);
    if (existsSync(path)) {
      using file = openSafetensors(path);
      return { source: path, weights: file.tensors() };
    }
    const index = `${path}.index.json`;
    if (existsSync(index)) return { source: index, weights: readShards(folder, index) };
  }
  throw new UserError(
    `${folder} has no weights: looked for ${names.join(", ")} and ${names[0]}.index.json.`,
    {
      code: "DATA",
      hint: "Give a folder as diffusers' save_pretrained writes it, with safetensors.",
    },
  );
}

function readShards(folder: string, index: string): Map<string, Tensor> {
  const { weight_map: places } = readJson(index) as { weight_map?: Record<string, string> };
  if (!places) throw new UserError(`${index} has no weight_map.`, { code: "DATA" });
  const files = new Map<string, ReturnType<typeof openSafetensors>>();
  const weights = new Map<string, Tensor>();
  try {
    for (const [name, shard] of Object.entries(places)) {
      if (basename(shard) !== shard)
        throw new UserError(`${index} points outside its folder: ${shard}.`, { code: "DATA" });
      const file = files.get(shard) ?? openSafetensors(join(folder, shard));
      files.set(shard, file);
      weights.set(name, file.get(name));
    }
  } finally {
    for (const file of files.values()) file.close();
  }
  return weights;
}

/** The names that published VAEs before diffusers 0.13 have for their attention. */
const OLD_ATTENTION: readonly [RegExp, string][] = [
  [/(attentions\.\d+)\.query\./, "$1.to_q."],
  [/(attentions\.\d+)\.key\./, "$1.to_k."],
  [/(attentions\.\d+)\.value\./, "$1.to_v."],
  [/(attentions\.\d+)\.proj_attn\./, "$1.to_out.0."],
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
    renewed.set(
      name.startsWith("text_model.") || name.startsWith("text_projection.") ? name : `text_model.${name}`,
      value,
    );
  }
  return renewed;
}

function place<M extends Module>(
  model: M,
  weights: ReadonlyMap<string, Tensor>,
  source: string,
  { dtype = "float32", device }: PlaceOptions,
): M {
  try {
    loadWeights(model, weights, { source, dtype, device });
  } finally {
    for (const tensor of weights.values()) tensor.dispose();
  }
  keep(model.parameters());
  return model;
}

const configOf = (folder: string): unknown => {
  if (!existsSync(folder)) {
    throw new UserError(`${folder} does not exist.`, {
      code: "DATA",
      hint: "Give a model folder in diffusers layout.",
    });
  }
  return readJson(join(folder, "config.json"));
};

/** Folder of an AutoencoderKL. Throws UserErrors for what is missing, damaged, unsupported or does not fit. */
export function loadVae(folder: string, options: PlaceOptions = {}): AutoencoderKL {
  const model = new AutoencoderKL(configOf(folder) as AutoencoderKLConfig);
  const { source, weights } = readWeights(folder, DIFFUSERS_WEIGHTS);
  return place(model, renewVaeNames(weights), source, options);
}

/** Folder of a UNet2DConditionModel. */
export function loadUnet(folder: string, options: PlaceOptions = {}): UNet2DConditionModel {
  const model = new UNet2DConditionModel(configOf(folder) as UNet2DConditionConfig);
  const { source, weights } = readWeights(folder, DIFFUSERS_WEIGHTS);
  return place(model, weights, source, options);
}

/** Folder of a CLIPTextModel. */
export function loadTextEncoder(folder: string, options: PlaceOptions = {}): CLIPTextModel {
  const model = new CLIPTextModel(configOf(folder) as CLIPTextConfig);
  const { source, weights } = readWeights(folder, TRANSFORMERS_WEIGHTS);
  return place(model, renewTextNames(weights), source, options);
}

/**
 * Writes a model's folder: config.json and one safetensors file, each whole or not at all.
 *
 * dtype: of the file, default the parameters' own. float16 halves the size; loading gives float32 again.
 */
export function saveModel(
  folder: string,
  model: AutoencoderKL | UNet2DConditionModel | CLIPTextModel,
  { dtype }: { dtype?: DType } = {},
): void {
  mkdirSync(folder, { recursive: true });
  const text = model instanceof CLIPTextModel;
  const className = text
    ? { architectures: [model.constructor.name], model_type: "clip_text_model" }
    : { _class_name: model.constructor.name };
  writeFileAtomic(
    join(folder, "config.json"),
    `${JSON.stringify({ ...className, ...model.config }, null, 2)}\n`,
  );
  const tensors = new Map(
    [...model.namedParameters()].map(([name, value]) => [name, dtype ? value.detach().to({ dtype }) : value]),
  );
  writeSafetensors(join(folder, (text ? TRANSFORMERS_WEIGHTS : DIFFUSERS_WEIGHTS)[0] as string), tensors, {
    format: "pt",
  });
  if (dtype) for (const tensor of tensors.values()) tensor.dispose();
}
