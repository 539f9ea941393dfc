// Reads the names in LoRA files, in every published spelling: which layer of the model, and which of its matrices.
import { Conv2d, Linear, type Module } from "@spo/torch";
import type { Family } from "../families/family.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { LoraLayer } from "./lora.js";
import { fusedLayers } from "./lora-fused.js";

export type LoraPiece = "down" | "up" | "alpha";

/** What an entry of a LoRA file is. */
export type LoraEntry =
  | { kind: "piece"; layer: string; piece: LoraPiece }
  /** A matrix for a layer that the models do not have; `ofDenoiser` unless its name is a text encoder's. */
  | { kind: "other layer"; ofDenoiser: boolean }
  /** Of another method: without it the adapter would be another one. */
  | { kind: "other method"; method: string }
  /** Of a textual inversion that came in the same file; name: the word that calls for it. */
  | { kind: "embedding"; name: string }
  | { kind: "unused" };

/**
 * Ends of names. Sources: kohya's sd-scripts; diffusers `save_lora_weights` of today and before 0.22; peft; ComfyUI
 * `comfy/weight_adapter/lora.py`.
 */
const PIECES: readonly [RegExp, LoraPiece][] = [
  [/\.(?:lora_down|lora\.down|lora_linear_layer\.down)\.weight$/, "down"],
  [/\.(?:lora_up|lora\.up|lora_linear_layer\.up)\.weight$/, "up"],
  [/_lora\.down\.weight$/, "down"],
  [/_lora\.up\.weight$/, "up"],
  [/\.lora_A(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$/, "down"],
  [/\.lora_B(?:\.(?!weight$|bias$)[^.]+)?(?:\.weight)?$/, "up"],
  [/(?:\.lora|\.lora_linear_layer|_lora)?\.alpha$/, "alpha"],
];

/** Ends of names of other kinds of adapter, and what they are. Source: LyCORIS, its modules' `weight_list`; peft's `TUNERS_STATE_DICT`. */
const OTHER_METHODS: readonly [RegExp, string][] = [
  [/\.dora_scale$|\.lora_magnitude_vector\b/, "DoRA (a magnitude for each layer)"],
  [/\.hada_[wt]\d/, "LoHa"],
  [/\.lokr_[wt]\d/, "LoKr"],
  [/\.lora_mid\b/, "LoRA with a third matrix (Tucker)"],
  [/\.(oft_blocks|oft_diag|oft_R|boft_R|boft_s)\b/, "OFT"],
  [/\.(diff|diff_b|set_weight|reshape_weight)$/, "whole differences of weights"],
  [/\.(w_norm|b_norm)$/, "whole weights of norms"],
  [/\.lora_[AB]\.bias$|\.lora_[AB]\.[^.]+\.bias$/, "LoRA with biases"],
  [/\.lora_embedding_[AB]\b/, "LoRA of embeddings"],
  [/\.([ab][12])\.weight$/, "GLoRA"],
  [/\.on_input$|\.ia3_l\b/, "IA³"],
  [/\.vera_lambda_[bd]\b/, "VeRA"],
];

/** Names in front of a module's, where `_` stands for every dot: those of kohya, OneTrainer and LyCORIS. */
const FLAT_PREFIX = /^(lora_(unet|transformer|te\d?)|lycoris)_/;

/** A text encoder's name, whichever the family has. */
const OF_TEXT = /^(text_encoders?(_\d)?|clip_\w|text_model|conditioner|cond_stage_model)\./;

const BUNDLED_EMBEDDING = /^bundle_emb\.(.+?)\.(?:string_to_param\.\*|clip_[lg]|emb_params)/;

/** The piece that a name ends in; undefined for a name of no LoRA. */
const pieceOf = (name: string): { stem: string; piece: LoraPiece } | undefined => {
  for (const [end, piece] of PIECES) {
    const at = name.search(end);
    if (at > 0) return { stem: name.slice(0, at), piece };
  }
  return undefined;
};

/** Whether a name could be an adapter's, of LoRA or of another method. No model is needed to tell. */
export const isOfAdapter = (name: string): boolean =>
  FLAT_PREFIX.test(name) ||
  (pieceOf(name) !== undefined && !name.endsWith(".alpha")) ||
  OTHER_METHODS.slice(0, 5).some(([end]) => end.test(name));

/**
 * Says what each name in a LoRA file stands for. models: those of the family that it may change.
 *
 * A name with `_` for `.` cannot be split again, so it is looked up among the models' layers. Modules are known by all names that the
 * family gives them. A map of the original code that holds several of them is a layer of its own (`fusedLayers`).
 */
export function loraNames(family: Family, models: PipelineModels): (name: string) => LoraEntry {
  const layers = new Map<string, string>();
  const flat = (name: string): string => name.replaceAll(".", "_");
  const know = (part: string, kohyaPrefixes: readonly string[], name: string, layer: string): void => {
    layers.set(`${part} ${name}`, layer);
    for (const prefix of kohyaPrefixes) layers.set(prefix + flat(name), layer);
  };
  const parts = Object.entries(family.parts).flatMap(([part, { lora }]) => (lora ? [{ part, lora }] : []));
  for (const { part, lora } of parts) {
    const model = models[part];
    const spellings = model && lora.spellings(model);
    for (const [module, found] of model?.modules() ?? []) {
      if (!isLayer(found)) continue;
      const layer = `${part}.${module}`;
      for (const name of spellings?.(module) ?? []) know(part, lora.kohyaPrefixes, name, layer);
    }
  }
  for (const [layer, { part, original }] of fusedLayers(family, models))
    know(part, family.parts[part]?.lora?.kohyaPrefixes ?? [], original, layer);
  const prefixes = parts
    .flatMap(({ part, lora }) => lora.prefixes.map((prefix) => [prefix, part] as const))
    .sort(([a], [b]) => b.length - a.length); // the longest that fits holds
  const layerOf = (stem: string): { layer?: string; ofDenoiser: boolean } => {
    const [, flatPart] = FLAT_PREFIX.exec(stem) ?? [];
    if (flatPart !== undefined) return { layer: layers.get(stem), ofDenoiser: !flatPart.startsWith("te") };
    const dotted = stem.replace(/^base_model\.model\./, "");
    const [prefix, part] = prefixes.find(([each]) => dotted.startsWith(each)) ?? ["", undefined];
    const module = dotted.slice(prefix.length).replace(/(^|\.)processor\./, "$1");
    // A file without any prefix belongs to one model; its modules say to which.
    const among = part === undefined ? parts.map((each) => each.part) : [part];
    const layer = among.map((each) => layers.get(`${each} ${module}`)).find(Boolean);
    return { layer, ofDenoiser: part === undefined ? !OF_TEXT.test(dotted) : part === family.denoiser };
  };
  return (name) => {
    const embedding = BUNDLED_EMBEDDING.exec(name)?.[1];
    if (embedding !== undefined) return { kind: "embedding", name: embedding };
    const method = OTHER_METHODS.find(([end]) => end.test(name))?.[1];
    if (method !== undefined) return { kind: "other method", method };
    const found = pieceOf(name);
    if (!found) {
      const whole = /^(.+)\.(weight|bias)$/.exec(name)?.[1];
      return whole !== undefined && layerOf(whole).layer !== undefined
        ? { kind: "other method", method: "whole weights beside LoRA (modules_to_save)" }
        : { kind: "unused" };
    }
    const { layer, ofDenoiser } = layerOf(found.stem);
    return layer === undefined
      ? { kind: "other layer", ofDenoiser }
      : { kind: "piece", layer, piece: found.piece };
  };
}

/** @internal Whether an adapter can lie over a module. */
export const isLayer = (module: Module): boolean =>
  module instanceof Linear || module instanceof Conv2d || module instanceof LoraLayer;
