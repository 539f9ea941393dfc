// Finds out from names and shapes which model a LoRA was made for.
import type { WeightsFile } from "@spo/torch";
import { UNet2DConditionConfig } from "../models/unet-2d-condition.js";
import type { LoraFamily } from "./lora-metadata.js";

/** Of a LoRA: the family, or another architecture's name, as far as its file tells. */
export interface LoraOrigin {
  /** For messages. */
  name: string;
  family?: LoraFamily;
  /** Width of the text that its cross-attention looks at. */
  width?: number;
}

/** Widths of the texts that published models look at. */
const CONTEXTS: Readonly<Record<number, { name: string; family?: LoraFamily }>> = {
  768: { name: "Stable Diffusion 1.x", family: "sd15" },
  1024: { name: "Stable Diffusion 2.x" },
  1280: { name: "the SDXL refiner" },
  2048: { name: "SDXL", family: "sdxl" },
};

/** Blocks that no UNet has. */
const OTHER_ARCHITECTURES: readonly [RegExp, string][] = [
  [/(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]/, "FLUX, or a model like it"],
  [
    /(^|[._])joint_blocks[._]|^(transformer|lora_transformer)[._]/,
    "Stable Diffusion 3, or another diffusion transformer",
  ],
  [/^(diffusion_model|lora_unet)[._](transformer_)?(blocks|layers)[._]\d/, "a diffusion transformer"],
];

/** Names that only SDXL has: its second text encoder, and what it is told of sizes. */
const ONLY_SDXL = /^lora_te2_|(^|\.)(text_encoder_2|clip_g)\.|label_emb|add_embedding/;

const CROSS_ATTENTION_DOWN =
  /attn2[._](?:processor\.)?to_[kv](?:_lora)?[._](?:.*[._])?(?:lora_down|lora_A|down)\b/;

/** Where the file comes from; undefined where nothing in it tells. */
export function loraOrigin(file: WeightsFile): LoraOrigin | undefined {
  const names = file.keys();
  const other = OTHER_ARCHITECTURES.find(([pattern]) => names.some((name) => pattern.test(name)));
  if (other) return { name: other[1] };
  const keys = names.find((name) => CROSS_ATTENTION_DOWN.test(name));
  const width = keys === undefined ? undefined : file.info(keys).shape[1];
  const known = width === undefined ? undefined : CONTEXTS[width];
  if (known) return { ...known, width };
  if (names.some((name) => ONLY_SDXL.test(name))) return { name: "SDXL", family: "sdxl", width };
  return width === undefined ? undefined : { name: `a model whose text is ${width} wide`, width };
}

/** How a model is called beside a LoRA that is for another one. */
export function modelName(config: UNet2DConditionConfig): string {
  const { cross_attention_dim: width } = UNet2DConditionConfig.parse(config);
  const known = typeof width === "number" ? CONTEXTS[width]?.name : undefined;
  return known ?? `a model whose text is ${String(width)} wide`;
}

/** Whether a LoRA can be for a UNet, as far as its file tells. */
export function fitsOrigin(origin: LoraOrigin, config: UNet2DConditionConfig): boolean {
  if (origin.width !== undefined)
    return origin.width === UNet2DConditionConfig.parse(config).cross_attention_dim;
  if (origin.family === "sdxl") return config.addition_embed_type === "text_time";
  return origin.family !== undefined;
}
