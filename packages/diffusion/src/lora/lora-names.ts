// Reads the names in LoRA files, in every published spelling: which layer of the model, and which of its matrices.
import { Conv2d, Linear, type Module } from "@spo/torch";
import { ldmUnetNames, renamed } from "../layouts/ldm-unet-names.js";
import { LoraLayer } from "./lora.js";
import { LORA_PARTS, type LoraParts } from "./lora-adapter.js";

export type LoraPiece = "down" | "up" | "alpha";

/** What an entry of a LoRA file is. */
export type LoraEntry =
  | { kind: "piece"; layer: string; piece: LoraPiece }
  /** A matrix for a layer that the models do not have; `ofUnet` unless its name is a text encoder's. */
  | { kind: "other layer"; ofUnet: boolean }
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

/** Names in front of a module's, where they are dotted; the longest that fits holds. */
const PREFIXES: readonly [prefix: string, part: keyof LoraParts][] = [
  ["model.diffusion_model.", "unet"],
  ["diffusion_model.", "unet"],
  ["unet.", "unet"],
  ["text_encoders.clip_l.transformer.", "text_encoder"],
  ["text_encoders.clip_l.", "text_encoder"],
  ["clip_l.transformer.", "text_encoder"],
  ["clip_l.", "text_encoder"],
  ["conditioner.embedders.0.transformer.", "text_encoder"],
  ["cond_stage_model.transformer.", "text_encoder"],
  ["text_encoder.", "text_encoder"],
  ["text_encoders.clip_g.transformer.", "text_encoder_2"],
  ["text_encoders.clip_g.", "text_encoder_2"],
  ["clip_g.transformer.", "text_encoder_2"],
  ["clip_g.", "text_encoder_2"],
  ["text_encoder_2.", "text_encoder_2"],
];

/** Names in front of a module's, where `_` stands for every dot. Both of the first text encoder are in use for both families. */
const FLAT_PREFIXES: readonly [prefix: string, part: keyof LoraParts][] = [
  ["lora_unet_", "unet"],
  ["lora_te_", "text_encoder"],
  ["lora_te1_", "text_encoder"],
  ["lora_te2_", "text_encoder_2"],
];

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
  FLAT_PREFIXES.some(([prefix]) => name.startsWith(prefix)) ||
  (pieceOf(name) !== undefined && !name.endsWith(".alpha")) ||
  OTHER_METHODS.slice(0, 5).some(([end]) => end.test(name));

/**
 * Says what each name in a LoRA file stands for.
 *
 * A name with `_` for `.` cannot be split again, so it is looked up among the models' layers. The UNet's modules are known by diffusers'
 * names and by those of the original code; a text encoder's with `text_model.` and without.
 */
export function loraNames(parts: LoraParts): (name: string) => LoraEntry {
  const layers = new Map<string, string>();
  const flat = (name: string): string => name.replaceAll(".", "_");
  const original = new Map(ldmUnetNames(parts.unet.config));
  for (const part of LORA_PARTS) {
    for (const [module, found] of parts[part]?.modules() ?? []) {
      if (!isLayer(found)) continue;
      const layer = `${part}.${module}`;
      for (const name of spellings(part, module, original)) {
        layers.set(`${part} ${name}`, layer);
        for (const [prefix, of] of FLAT_PREFIXES) if (of === part) layers.set(prefix + flat(name), layer);
      }
    }
  }
  const layerOf = (stem: string): { layer?: string; ofUnet: boolean } => {
    const flatPart = FLAT_PREFIXES.find(([prefix]) => stem.startsWith(prefix))?.[1];
    if (flatPart) return { layer: layers.get(stem), ofUnet: flatPart === "unet" };
    const dotted = stem.replace(/^base_model\.model\./, "");
    const [prefix, part] = PREFIXES.find(([each]) => dotted.startsWith(each)) ?? ["", undefined];
    const module = dotted.slice(prefix.length).replace(/(^|\.)processor\./, "$1");
    // A file without any prefix belongs to one model; its modules say to which.
    const found = (part ? [part] : LORA_PARTS).map((each) => layers.get(`${each} ${module}`)).find(Boolean);
    return { layer: found, ofUnet: part === undefined ? !module.startsWith("text_model.") : part === "unet" };
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
    const { layer, ofUnet } = layerOf(found.stem);
    return layer === undefined
      ? { kind: "other layer", ofUnet }
      : { kind: "piece", layer, piece: found.piece };
  };
}

/** A module's names in files. `to_out` alone is that of diffusers' attention processors. */
function spellings(part: keyof LoraParts, module: string, original: ReadonlyMap<string, string>): string[] {
  if (part !== "unet") return [module, module.replace(/^text_model\./, "")];
  const names = [module, renamed(module, original)].filter((name): name is string => name !== undefined);
  return names.flatMap((name) => (name.endsWith(".to_out.0") ? [name, name.slice(0, -2)] : [name]));
}

/** @internal Whether an adapter can lie over a module. */
export const isLayer = (module: Module): boolean =>
  module instanceof Linear || module instanceof Conv2d || module instanceof LoraLayer;
