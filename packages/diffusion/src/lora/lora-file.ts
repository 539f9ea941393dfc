import { createHash } from "node:crypto";
import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  type DType,
  noGrad,
  openWeights,
  scope,
  type Tensor,
  tensor,
  tensorBytes,
  UserError,
  writeSafetensors,
} from "@spo/torch";
import { readJson } from "../config.js";
import { type Misfit, refuseMisfits } from "../layouts/misfits.js";
import type { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import type { Lora } from "./lora.js";
import {
  adapterOf,
  applyAdapter,
  disposeAdapter,
  type LoraAdapter,
  type LoraParts,
  type LoraWeights,
} from "./lora-adapter.js";
import { alphaFrom, alphaMetadata } from "./lora-alpha.js";
import { diffusersLayout } from "./lora-diffusers.js";
import { kohyaLayout } from "./lora-kohya.js";
import type { LoraLayoutOf } from "./lora-layout.js";
import { type LoraDescription, loraMetadata } from "./lora-metadata.js";
import { peftLayout } from "./lora-peft.js";

const LAYOUTS = { kohya: kohyaLayout, peft: peftLayout, diffusers: diffusersLayout } satisfies Record<
  string,
  LoraLayoutOf
>;

/** The published layouts of LoRA files. */
export type LoraLayoutName = keyof typeof LAYOUTS;

/** What other methods call their tensors: kinds of adapter that are not LoRA. */
const OTHER_METHODS: readonly [RegExp, string][] = [
  [/dora_scale|lora_magnitude_vector/, "DoRA's magnitude; only plain LoRA is supported"],
  [/hada_w/, "LoHa; only LoRA is supported"],
  [/lokr_w/, "LoKr; only LoRA is supported"],
  [/lora_mid/, "a third factor (CP decomposition); only LoRA of two factors is supported"],
  [/\.diff(_b)?$|\.w_norm$|\.b_norm$/, "a full difference of weights, not LoRA"],
  [/\.(a1|b1|a2|b2)\.weight$|on_input/, "IA3 or another method; only LoRA is supported"],
];

/** Names under which diffusers, peft and their trainers save an adapter in a folder. */
const USUAL_NAMES = ["pytorch_lora_weights", "adapter_model"].flatMap((name) => [
  `${name}.safetensors`,
  `${name}.bin`,
]);

/** The adapter's file: the path itself, or the usual name in a folder. Throws a UserError (`DATA`) for a folder without one. */
export function loraFileAt(path: string): string {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return path;
  const name = USUAL_NAMES.find((each) => existsSync(join(path, each)));
  if (name !== undefined) return join(path, name);
  throw new UserError(`The folder ${path} holds no LoRA: there is none of ${USUAL_NAMES.join(", ")}.`, {
    code: "DATA",
  });
}

/** Whether a file of weights, or a folder, is an adapter rather than a model. Throws a UserError (`DATA`) for what cannot be read. */
export function isLora(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    return USUAL_NAMES.some((name) => existsSync(join(path, name)));
  using file = openWeights(path);
  return layoutAmong(file.keys()) !== undefined;
}

/**
 * Reads an adapter in any layout, told from its names; a folder has it under one of the usual names. The tensors lie over the file.
 *
 * `parts`: the models that it is meant for, which may be without values: their configs give the original block names of kohya's files.
 * metadata: the file's own. Throws a UserError that lists every name that is not understood and every layer that lacks a tensor.
 */
export function readLora(
  place: string,
  parts: LoraParts,
): { adapter: LoraAdapter; layout: LoraLayoutName; metadata: Readonly<Record<string, string>> } {
  const path = loraFileAt(place);
  using file = openWeights(path);
  const names = file.keys();
  const layout = layoutOf(names, path);
  const { parse } = LAYOUTS[layout](parts);
  const config = join(dirname(path), "adapter_config.json");
  const alphas = alphaFrom(
    file.metadata,
    layout === "peft" && existsSync(config) ? readJson(config) : undefined,
  );
  const faults: Misfit[] = [];
  const found = new Map<string, { down?: string; up?: string; alpha?: string }>();
  for (const name of names) {
    const parsed = parse(name);
    if (!parsed) {
      const method = OTHER_METHODS.find(([pattern]) => pattern.test(name))?.[1];
      faults.push([name, method ?? "no layer of this model that can have an adapter"]);
      continue;
    }
    const pieces = found.get(parsed.layer) ?? {};
    if (pieces[parsed.piece] !== undefined) faults.push([name, `the same layer as ${pieces[parsed.piece]}`]);
    pieces[parsed.piece] = name;
    found.set(parsed.layer, pieces);
  }
  for (const [layer, { down, up, alpha }] of found) {
    if (down === undefined || up === undefined)
      faults.push([down ?? up ?? alpha ?? layer, `without its ${down === undefined ? "down" : "up"} matrix`]);
    else {
      const [r, r2] = [file.info(down).shape[0], file.info(up).shape[1]];
      if (r !== r2) faults.push([down, `rank ${r}, but its up matrix has ${r2}`]);
      if (
        file
          .info(up)
          .shape.slice(2)
          .some((size) => size !== 1)
      )
        faults.push([up, `its up matrix is [${file.info(up).shape}]; only 1×1 is supported`]);
    }
  }
  refuseMisfits(
    `${path}: ${faults.length} of ${names.length} entries are not understood (${layout} layout)`,
    faults,
    "Is it a LoRA of this family (SD1.5 or SDXL), and are all models given that it changes?",
  );
  const adapter: LoraAdapter = new Map();
  for (const [layer, { down, up, alpha }] of found) {
    const weights = { down: file.get(down as string), up: file.get(up as string) };
    const rank = weights.down.shape[0] as number;
    const stored = alpha === undefined ? undefined : numberOf(file.get(alpha));
    adapter.set(layer, { ...weights, alpha: stored ?? alphas(layer, rank) ?? rank });
  }
  return { adapter, layout, metadata: file.metadata };
}

/** No model is needed to tell a layout. */
function layoutAmong(names: readonly string[]): LoraLayoutName | undefined {
  if (names.some((name) => /^lora_(unet|te[12]?)_/.test(name))) return "kohya";
  if (names.some(peftLayout().recognises)) return "peft";
  if (names.some(diffusersLayout().recognises)) return "diffusers";
  return undefined;
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

/** Writes an adapter, whole or not at all. Reading it gives the same bits, in whatever layout. */
export function writeLora(
  path: string,
  adapter: LoraAdapter,
  parts: LoraParts,
  { layout = "kohya", dtype, description, metadata = {} }: WriteLoraOptions = {},
): void {
  const { name, storesAlpha } = LAYOUTS[layout](parts);
  noGrad(() =>
    scope(() => {
      const tensors = new Map<string, Tensor>();
      for (const [layer, { down, up, alpha }] of adapter) {
        const kept = (matrix: Tensor): Tensor => (dtype ? matrix.detach().to({ dtype }) : matrix);
        tensors.set(name(layer, "down"), kept(down));
        tensors.set(name(layer, "up"), kept(up));
        if (storesAlpha) tensors.set(name(layer, "alpha"), alphaTensor(alpha, dtype ?? down.dtype));
      }
      const family = parts.unet.config.addition_embed_type === "text_time" ? "sdxl" : "sd15";
      const hash = createHash("sha256");
      for (const bytes of tensorBytes(tensors)) hash.update(bytes);
      writeSafetensors(path, tensors, {
        format: "pt",
        ...(storesAlpha ? {} : alphaMetadata(adapter)),
        ...loraMetadata(adapter, family, hash.digest("hex"), description),
        ...metadata,
      });
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
  readonly #layers: { path: string; loras: Partial<Record<keyof LoraParts, Lora>> }[] = [];

  /**
   * Reads adapters and lays them over the models; weight: strength, 1 is as trained. Throws a UserError for the first file that does not fit,
   * and the models are then as they were.
   */
  constructor(parts: LoraParts, files: readonly { path: string; weight?: number }[]) {
    try {
      for (const { path, weight = 1 } of files) {
        const { adapter } = readLora(path, parts);
        try {
          const loras = applyAdapter(parts, adapter, path);
          for (const lora of Object.values(loras)) lora.scale = weight;
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

/** Writes a UNet's adapter; see `writeLora`. */
export function saveLora(
  path: string,
  lora: Lora,
  unet: UNet2DConditionModel,
  options: WriteLoraOptions = {},
): void {
  writeLora(path, adapterOf({ unet: lora }), { unet }, options);
}

/** Reads a UNet's adapter in any layout and lays it over the UNet. Throws a UserError when a name or shape does not fit. */
export function loadLora(unet: UNet2DConditionModel, path: string): Lora {
  const { adapter } = readLora(path, { unet });
  try {
    const lora = applyAdapter({ unet }, adapter, path).unet;
    if (!lora) throw new UserError(`${path} has no layers of the UNet.`, { code: "DATA" });
    return lora;
  } finally {
    disposeAdapter(adapter);
  }
}

export type { LoraWeights };
