// Reads CLIP scorers in all published layouts, as weights and sizes under the names of transformers' CLIPModel.
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { checkConfig, readJsonObject, readWeights } from "@spo/diffusion";
import { openWeights, type Tensor, UserError } from "@spo/torch";
import { type ClipConfig, ClipConfigSchema, readProcessor } from "./clip-config.js";
import { fromOpenClip, isOpenClip, OpenClipConfig, openClipSizes } from "./open-clip-layout.js";
import { clipProcessor, type ScoreProcessor } from "./preprocess.js";

export interface ClipFiles {
  config: ClipConfig;
  processor: ScoreProcessor;
  /** By transformers' names. */
  weights: Map<string, Tensor>;
  /** The file, for messages. */
  source: string;
}

const WEIGHTS = [
  "model.safetensors",
  "pytorch_model.bin",
  "open_clip_model.safetensors",
  "open_clip_pytorch_model.bin",
];

/**
 * Reads a CLIP with both towers: a folder of transformers (CLIP, PickScore) or of open_clip, or one file (.safetensors, .pt, .bin) in
 * either naming, with the config that came with it beside it. A bare file in open_clip's naming needs none where it is one of LAION's large
 * models.
 *
 * Buffers of positions are left out. The tensors belong to the scope that is open. Throws UserErrors for what is missing, damaged or
 * another kind of model.
 */
export function readClipFiles(path: string): ClipFiles {
  const { folder, source, weights: named } = readScorerWeights(path);
  if ([...named.keys()].some((name) => name.includes("adaLN_modulation."))) {
    throw new UserError(`${source} is a step-aware preference model, not a plain CLIP.`, {
      code: "DATA",
      hint: "As a scorer of finished images it is called spm:PATH.",
    });
  }
  if (!isOpenClip(named.keys())) {
    const config = readClipConfig(folder);
    return { config, processor: readProcessor(folder, config), weights: named, source };
  }
  const beside = join(folder, "open_clip_config.json");
  const own = existsSync(beside) ? checkConfig(OpenClipConfig, readJsonObject(beside), beside) : undefined;
  const config = checkConfig(ClipConfigSchema, openClipSizes(named, source, own), source);
  const processor = clipProcessor(config.vision_config.image_size);
  return { config, processor, weights: fromOpenClip(named), source };
}

/** Prefix of every name in the published step-aware models' files. */
const PREFIX = "model.";

/**
 * Weights of a scorer, a folder's or a file's, as they are named there but for the prefix `model.` of published step-aware models. Buffers
 * of positions are left out. Throws a UserError (`DATA`) for what is missing or damaged.
 */
export function readScorerWeights(path: string): {
  folder: string;
  source: string;
  weights: Map<string, Tensor>;
} {
  const { weights, ...from } = readFiles(path);
  const bare = (name: string): string => (name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name);
  const named = [...weights].map(([name, value]) => [bare(name), value] as const);
  return { ...from, weights: new Map(named.filter(([name]) => !name.endsWith(".position_ids"))) };
}

function readFiles(path: string): { folder: string; source: string; weights: Map<string, Tensor> } {
  if (!existsSync(path)) {
    throw new UserError(`${path} does not exist.`, {
      code: "DATA",
      hint: "Give the folder of a CLIP model, or its file of weights.",
    });
  }
  if (statSync(path).isDirectory()) return { folder: path, ...readWeights(path, WEIGHTS) };
  using file = openWeights(path);
  return { folder: dirname(path), source: path, weights: file.tensors() };
}

/** config.json of a folder with transformers' CLIPModel. Throws a UserError for one of another class. */
function readClipConfig(folder: string): ClipConfig {
  const path = join(folder, "config.json");
  const found = readJsonObject(path);
  const { model_type: type, _class_name: name, vision_config: vision } = found;
  const kind = type ?? name;
  if (kind === undefined ? vision === undefined : kind !== "clip") {
    throw new UserError(
      `${path} belongs to a model of the type ${JSON.stringify(kind ?? null)}, not to a CLIP with both towers.`,
      {
        code: "DATA",
        hint: "A scorer has an image tower and a text tower: give CLIP, PickScore or a model like them.",
      },
    );
  }
  return checkConfig(ClipConfigSchema, found, path);
}
