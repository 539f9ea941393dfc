// Finds out from names and shapes which model a LoRA was made for.
import type { WeightsFile } from "@spo/torch";
import { blankModels, FAMILIES, familyOfDenoiser } from "../families/families.js";
import type { Family } from "../families/family.js";
import { crossAttentionWidth } from "../families/shared-parts.js";
import type { DenoiserModel } from "../models/denoiser-model.js";

/** Of a LoRA: the family, or another architecture's name, as far as its file tells. */
export interface LoraOrigin {
  /** For messages. */
  name: string;
  family?: Family;
  /** Width of the text that its cross-attention looks at. */
  width?: number;
  /** It is some transformer's, of whichever family. */
  ofTransformer?: boolean;
}

/** Widths of the texts that UNets of no family's published model look at. */
const OTHER_WIDTHS: Readonly<Record<number, string>> = {
  1024: "Stable Diffusion 2.x",
  1280: "the SDXL refiner",
};

/** Blocks that no family has. */
const OTHER_ARCHITECTURES: readonly [RegExp, string][] = [
  [/^(diffusion_model|lora_unet)[._](transformer_)?(blocks|layers)[._]\d/, "a diffusion transformer"],
];

/** Names that several families' transformers have. */
const OF_TRANSFORMER =
  /^(base_model\.model\.|transformer\.|lora_transformer_|lycoris_)?(transformer\.)?transformer_blocks[._]\d/;

/** Where the file comes from; undefined where nothing in it tells. */
export function loraOrigin(file: WeightsFile): LoraOrigin | undefined {
  const names = file.keys();
  const architecture = file.metadata["modelspec.architecture"] ?? "";
  const transformers = FAMILIES.filter(isTransformer);
  const said = transformers.find(({ metadata }) => architecture.startsWith(metadata.architecture));
  const byBlocks = said ?? transformers.find((family) => family.isLora(file));
  if (byBlocks) return { name: byBlocks.title, family: byBlocks };
  if (names.some((name) => OF_TRANSFORMER.test(name)))
    return { name: "Stable Diffusion 3, or another diffusion transformer", ofTransformer: true };
  const other = OTHER_ARCHITECTURES.find(([pattern]) => names.some((name) => pattern.test(name)));
  if (other) return { name: other[1] };
  const width = crossAttentionWidth(file);
  const known = width === undefined ? undefined : OTHER_WIDTHS[width];
  if (known) return { name: known, width };
  const family = FAMILIES.find(({ isLora }) => isLora(file));
  if (family) return { name: family.title, family, width };
  return width === undefined ? undefined : { name: `a model whose text is ${width} wide`, width };
}

const isTransformer = ({ loraMatrices }: Family): boolean => loraMatrices === "lora_A";

/** Width of the text that a denoiser looks at. */
const textWidth = (denoiser: DenoiserModel): number | undefined =>
  Object.values(denoiser.conditionShapes(1)).find(({ length }) => length === 2)?.[1];

/** How a model is called beside a LoRA that is for another one. */
export function modelName(denoiser: DenoiserModel): string {
  const width = textWidth(denoiser);
  const family = familyOfDenoiser(denoiser);
  if (isTransformer(family)) return family.title;
  const published = blankModels(family, family.published)[family.denoiser] as DenoiserModel;
  if (width === textWidth(published)) return family.title;
  return OTHER_WIDTHS[width ?? 0] ?? `a model whose text is ${width} wide`;
}

/** Whether a LoRA can be for a denoiser, as far as its file tells. */
export function fitsOrigin({ width, family, ofTransformer }: LoraOrigin, denoiser: DenoiserModel): boolean {
  if (ofTransformer) return isTransformer(familyOfDenoiser(denoiser));
  if (width !== undefined) return width === textWidth(denoiser);
  return family !== undefined && family === familyOfDenoiser(denoiser);
}
