import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  type DType,
  noGrad,
  openWeights,
  scope,
  storedWeights,
  type Tensor,
  tensor,
  tensorBytes,
  UserError,
  type WeightsFile,
  warn,
  warnOfUnused,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { isFolder } from "@spo/torch/files";
import { readJsonObject } from "../config.js";
import { familyOfDenoiser, familyOfModels } from "../families/families.js";
import type { Family } from "../families/family.js";
import { type Misfit, refuseMisfits } from "../layouts/misfits.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import type { DenoiserModel } from "../models/denoiser-model.js";
import type { Lora } from "./lora.js";
import {
  adapterOf,
  applyAdapter,
  disposeAdapter,
  type LoraAdapter,
  type LoraWeights,
} from "./lora-adapter.js";
import {
  alphaFrom,
  alphaMetadata,
  PEFT_CONFIG,
  PEFT_FILE,
  peftConfig,
  type SaidOfLayer,
} from "./lora-alpha.js";
import { comfyLayout } from "./lora-comfy.js";
import { diffusersLayout } from "./lora-diffusers.js";
import { fusedLayers, joinFused, splitFused } from "./lora-fused.js";
import { kohyaLayout } from "./lora-kohya.js";
import type { LoraLayout, LoraLayoutOf } from "./lora-layout.js";
import { type LoraDescription, loraMetadata } from "./lora-metadata.js";
import { isOfAdapter, type LoraPiece, loraNames } from "./lora-names.js";
import { fitsOrigin, loraOrigin, modelName } from "./lora-origin.js";
import { peftLayout } from "./lora-peft.js";

const LAYOUTS = {
  kohya: kohyaLayout,
  peft: peftLayout,
  diffusers: diffusersLayout,
  comfy: comfyLayout,
} satisfies Record<string, LoraLayoutOf>;

/** The published layouts of LoRA files. */
export type LoraLayoutName = keyof typeof LAYOUTS;

/** Names under which diffusers, peft and their trainers save an adapter in a folder. */
const USUAL_NAMES = ["pytorch_lora_weights", "adapter_model"].flatMap((name) => [
  `${name}.safetensors`,
  `${name}.bin`,
]);

/** The adapter's file: the path itself, or the usual name in a folder. Throws a UserError (`DATA`) for a folder without one. */
export function loraFileAt(path: string): string {
  if (!isFolder(path)) return path;
  const name = USUAL_NAMES.find((each) => existsSync(join(path, each)));
  if (name !== undefined) return join(path, name);
  throw new UserError(`The folder ${path} holds no LoRA: there is none of ${USUAL_NAMES.join(", ")}.`, {
    code: "DATA",
  });
}

/** Whether a file of weights, or a folder, is an adapter rather than a model. Throws a UserError (`DATA`) for what cannot be read. */
export function isLora(path: string): boolean {
  if (isFolder(path)) return USUAL_NAMES.some((name) => existsSync(join(path, name)));
  using file = openWeights(path);
  return layoutAmong(file.keys()) !== undefined;
}

/** Entries that an error names: a file for another model has hundreds. */
const SHOWN = 5;

/**
 * Reads an adapter in any layout; a folder has it under one of the usual names. The tensors lie over the file.
 *
 * `models`: those that it is meant for, which may be without values: their configs give the original block names. layout: the one that the
 * names are most like. metadata: the file's own. Layers that the models do not have and entries of other kinds are passed over with one
 * warning. Throws a UserError for a LoRA of another family, for another method than LoRA, and for a layer that lacks a matrix.
 */
export function readLora(
  place: string,
  models: PipelineModels,
): { adapter: LoraAdapter; layout: LoraLayoutName; metadata: Readonly<Record<string, string>> } {
  const path = loraFileAt(place);
  using file = openWeights(path);
  const layout = layoutOf(file.keys(), path);
  const family = familyOfModels(models);
  const { pieces, unused, denoiserLayers } = sorted(file, family, models, path);
  refuseOtherModels(file, models[family.denoiser] as DenoiserModel, path, pieces.size, denoiserLayers);
  const config = join(dirname(path), PEFT_CONFIG);
  const said = alphaFrom(
    file.metadata,
    layout === "peft" && existsSync(config) ? readJsonObject(config) : undefined,
    path,
  );
  const faults = [...pieces].flatMap(([layer, found]) => faultsOf(layer, found, file, said));
  refuseMisfits(
    `${path}: ${faults.length} faults in a LoRA of ${pieces.size} layers`,
    faults,
    "Get the file again, or ask whoever made it.",
    SHOWN,
  );
  warnOfUnused(path, unused);
  const adapter: LoraAdapter = new Map();
  for (const [layer, { down, up, alpha }] of pieces) {
    const weights = { down: file.get(down as string), up: file.get(up as string) };
    const rank = weights.down.shape[0] as number;
    const stored = alpha === undefined ? undefined : numberOf(file.get(alpha));
    if (stored !== undefined && !Number.isFinite(stored)) throw notFiniteAlpha(path, alpha as string, stored);
    adapter.set(layer, { ...weights, alpha: stored ?? said(layer, rank).alpha ?? rank });
  }
  const fused = fusedLayers(family, models);
  const split = scope(() => splitFused(adapter, fused, path));
  // Of a fused map only the parts stay.
  for (const [layer, weights] of adapter) if (fused.has(layer)) disposeAdapter(new Map([[layer, weights]]));
  return { adapter: split, layout, metadata: file.metadata };
}

type Pieces = Partial<Record<LoraPiece, string>>;

/**
 * A file's entries: those of the models' layers, and those that are passed over. denoiserLayers: how many are a denoiser's, known or not.
 *
 * Throws a UserError for entries of another method.
 */
function sorted(
  file: WeightsFile,
  family: Family,
  models: PipelineModels,
  path: string,
): { pieces: Map<string, Pieces>; unused: string[]; denoiserLayers: { known: number; others: number } } {
  const pieces = new Map<string, Pieces>();
  const unused: string[] = [];
  const embeddings = new Set<string>();
  const methods = new Map<string, string[]>();
  const denoiserLayers = { known: 0, others: 0 };
  const entryOf = loraNames(family, models);
  for (const name of file.keys()) {
    const entry = entryOf(name);
    if (entry.kind === "embedding") embeddings.add(entry.name);
    else if (entry.kind === "other method")
      methods.set(entry.method, [...(methods.get(entry.method) ?? []), name]);
    else if (entry.kind === "piece") {
      const found = pieces.get(entry.layer) ?? {};
      if (found[entry.piece] !== undefined)
        throw new UserError(`${path}: ${name} and ${found[entry.piece]} are the same matrix of a layer.`, {
          code: "DATA",
        });
      pieces.set(entry.layer, { ...found, [entry.piece]: name });
      if (entry.layer.startsWith(`${family.denoiser}.`)) denoiserLayers.known++;
    } else {
      unused.push(name);
      if (entry.kind === "other layer" && entry.ofDenoiser) denoiserLayers.others++;
    }
  }
  if (methods.size > 0) {
    const found = [...methods].map(
      ([method, names]) => `${method} (${names.length} entries, such as ${names[0]})`,
    );
    throw new UserError(`${path} is not plain LoRA: it has ${found.join(" and ")}.`, {
      code: "DATA",
      hint: "Supported is LoRA of two matrices a layer, of linear maps and convolutions. Merge another kind into a model with the tool that made it.",
    });
  }
  if (embeddings.size > 0)
    warn(
      `${path} also has the embedding ${[...embeddings].slice(0, SHOWN).join(", ")}, which is not supported: its word in a prompt means nothing, the LoRA is used.`,
    );
  return { pieces, unused, denoiserLayers };
}

/** One sentence for a LoRA of another model, whatever the number of its layers. */
function refuseOtherModels(
  file: WeightsFile,
  denoiser: DenoiserModel,
  path: string,
  known: number,
  denoiserLayers: { known: number; others: number },
): void {
  const origin = loraOrigin(file);
  const isOther = origin !== undefined && !fitsOrigin(origin, denoiser);
  if (known > 0 && !isOther && !(denoiserLayers.known === 0 && denoiserLayers.others > 0)) return;
  const said = file.metadata["modelspec.architecture"] ?? file.metadata.ss_base_model_version;
  const from = `${isOther ? origin.name : "another model"}${said === undefined ? "" : ` (its metadata says ${said})`}`;
  throw new UserError(`${path} is a LoRA for ${from}; this one is ${modelName(denoiser)}.`, {
    code: "DATA",
    hint: "An adapter fits only the family that it was trained on, and the models that are given.",
  });
}

/** What is wrong with a layer's matrices. */
function faultsOf(
  layer: string,
  { down, up, alpha }: Pieces,
  file: WeightsFile,
  said: (layer: string, rank: number) => SaidOfLayer,
): Misfit[] {
  if (down === undefined || up === undefined)
    return [[down ?? up ?? alpha ?? layer, `without its ${down === undefined ? "down" : "up"} matrix`]];
  const [{ shape: downShape }, { shape: upShape }] = [file.info(down), file.info(up)];
  const [rank, upRank] = [downShape[0], upShape[1]];
  if (rank === undefined || rank !== upRank) return [[down, `rank ${rank}, but its up matrix has ${upRank}`]];
  if (upShape.slice(2).some((size) => size !== 1))
    return [[up, `its up matrix is [${upShape}]; only 1×1 is supported`]];
  if (alpha !== undefined && file.info(alpha).shape.some((size) => size !== 1))
    return [[alpha, `alpha is one number, not [${file.info(alpha).shape}]`]];
  const told = alpha === undefined ? said(layer, rank).rank : undefined;
  return told === undefined || told === rank
    ? []
    : [[down, `rank ${rank}, but ${told} by the file's settings`]];
}

const notFiniteAlpha = (path: string, name: string, value: number): UserError =>
  new UserError(`${path}: ${name} is ${value}, which is no strength.`, {
    code: "DATA",
    hint: "The file is damaged, or its training was: get another one.",
  });

/** The layout that the names are most like; no model is needed for that. */
function layoutAmong(names: readonly string[]): LoraLayoutName | undefined {
  if (!names.some(isOfAdapter)) return undefined;
  const some = (pattern: RegExp): boolean => names.some((name) => pattern.test(name));
  if (some(/^lora_(unet|transformer|te\d?)_|\.lora_(down|up)\.weight$/)) return "kohya";
  if (some(/^diffusion_model\.(joint|double|single)_blocks\./)) return "comfy";
  return some(/\.lora_[AB]\b/) && !some(/^transformer\./) ? "peft" : "diffusers";
}

function layoutOf(names: readonly string[], path: string): LoraLayoutName {
  const layout = layoutAmong(names);
  if (layout) return layout;
  throw new UserError(
    `${path} is no LoRA: none of its ${names.length} names is one of kohya's, peft's or diffusers' (the first: ${names[0] ?? "there is none"}).`,
    { code: "DATA", hint: "Give a LoRA file; a whole checkpoint is loaded as a model." },
  );
}

function numberOf(alpha: Tensor): number {
  const value = alpha.item();
  alpha.dispose();
  return value;
}

/** How a LoRA is written: naming, element type, metadata. */
export interface WriteLoraOptions {
  /** Default: kohya, which every interface reads. */
  layout?: LoraLayoutName;
  /** Of the file. Default: the tensors' own. */
  dtype?: DType;
  /** Goes into the metadata. */
  description?: LoraDescription;
  /** Further metadata. */
  metadata?: Readonly<Record<string, string>>;
}

/**
 * Writes an adapter, whole or not at all; a transformer's with adapter_config.json beside it, where peft looks for both. Reading it gives
 * the same bits in every layout. Throws a UserError (`NUMERIC`) that names matrices which are not finite in the file.
 */
export function writeLora(
  path: string,
  adapter: LoraAdapter,
  models: PipelineModels,
  { layout = "kohya", dtype, description, metadata = {} }: WriteLoraOptions = {},
): void {
  const family = familyOfModels(models);
  const { name, storesAlpha, fuses, hasConfig }: LoraLayout = LAYOUTS[layout](family, models);
  noGrad(() =>
    scope(() => {
      const [matrices, alphas] = [new Map<string, Tensor>(), new Map<string, Tensor>()];
      const layers = fuses ? joinFused(adapter, fusedLayers(family, models)) : adapter;
      for (const [layer, { down, up, alpha }] of layers) {
        if (!Number.isFinite(alpha)) throw notFiniteAlpha(path, layer, alpha);
        matrices.set(name(layer, "down"), down);
        matrices.set(name(layer, "up"), up);
        if (storesAlpha === true || (storesAlpha && alpha !== down.shape[0]))
          alphas.set(name(layer, "alpha"), alphaTensor(alpha, dtype ?? down.dtype));
      }
      const stored = storedWeights(matrices, { dtype, place: path });
      const tensors = new Map([...stored, ...alphas]);
      const hash = createHash("sha256");
      for (const bytes of tensorBytes(tensors)) hash.update(bytes);
      writeSafetensors(path, tensors, {
        format: "pt",
        ...(storesAlpha ? {} : alphaMetadata(adapter, Object.keys(family.parts))),
        ...loraMetadata(adapter, family, hash.digest("hex"), description),
        ...metadata,
      });
      if (hasConfig && basename(path) === PEFT_FILE)
        writeFileAtomic(join(dirname(path), PEFT_CONFIG), peftConfig(adapter));
    }),
  );
}

/** Alpha in the dtype of the weights, as kohya saves it; in float32 where that would not keep its value. */
function alphaTensor(alpha: number, dtype: DType): Tensor {
  const plain = tensor(alpha);
  const rounded = plain.to({ dtype });
  return rounded.item() === plain.item() ? rounded : plain;
}

/** Adapters that lie over the models of one pipeline, each with its weight. */
export class LoraStack {
  readonly #layers: { path: string; loras: Record<string, Lora> }[] = [];

  /**
   * Reads adapters and lays them over the models. weight: strength, 1 is as trained; textWeight: in the text encoders, default the same.
   * Throws a UserError for the first file that does not fit; the models are then as they were.
   */
  constructor(
    models: PipelineModels,
    files: readonly { path: string; weight?: number; textWeight?: number }[],
  ) {
    const { denoiser } = familyOfModels(models);
    try {
      for (const { path, weight = 1, textWeight = weight } of files) {
        const { adapter } = readLora(path, models);
        try {
          const loras = applyAdapter(models, adapter, path);
          for (const [part, lora] of Object.entries(loras))
            lora.scale = part === denoiser ? weight : textWeight;
          this.#layers.push({ path, loras });
        } finally {
          disposeAdapter(adapter);
        }
      }
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** All adapters, the lowest first. */
  get loras(): Lora[] {
    return this.#layers.flatMap(({ loras }) => Object.values(loras));
  }

  /** Runs `fn` with all adapters added into the weights. */
  merged<T>(fn: () => T): T {
    const loras = this.loras;
    try {
      for (const lora of loras) lora.merge();
      return fn();
    } finally {
      for (const lora of loras.toReversed()) lora.unmerge();
    }
  }

  /** Adds all adapters into the weights for good: the models are plain ones, ready to be saved. */
  fuse(): void {
    for (const lora of this.loras.toReversed()) lora.fuse();
    this.#layers.length = 0;
  }

  /** Takes all adapters out. */
  remove(): void {
    for (const lora of this.loras.toReversed()) lora.remove();
    this.#layers.length = 0;
  }
}

/** Writes a denoiser's adapter; see `writeLora`. */
export function saveLora(
  path: string,
  lora: Lora,
  model: DenoiserModel,
  options: WriteLoraOptions = {},
): void {
  const { denoiser } = familyOfDenoiser(model);
  writeLora(path, adapterOf({ [denoiser]: lora }), { [denoiser]: model }, options);
}

/** Reads a denoiser's adapter in any layout and lays it over the denoiser. Throws a UserError when a name or shape does not fit. */
export function loadLora(model: DenoiserModel, path: string): Lora {
  const { denoiser } = familyOfDenoiser(model);
  const models = { [denoiser]: model };
  const { adapter } = readLora(path, models);
  try {
    const lora = applyAdapter(models, adapter, path)[denoiser];
    if (!lora) throw new UserError(`${path} has no layers of the denoiser.`, { code: "DATA" });
    return lora;
  } finally {
    disposeAdapter(adapter);
  }
}

export type { LoraWeights };
