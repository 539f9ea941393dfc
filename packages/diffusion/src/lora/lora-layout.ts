// How a file layout of LoRA names a layer's tensors when it is written. Reading is in lora-names.ts.
import type { Family } from "../families/family.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import type { LoraPiece } from "./lora-names.js";

/** One published way to name an adapter's tensors. */
export interface LoraLayout {
  /** The name in the file. */
  name(layer: string, piece: LoraPiece): string;
  /**
   * Whether each layer's alpha is a tensor of the file: always, never, or where it is not the rank. If not, alpha is the rank unless the
   * metadata says otherwise.
   */
  readonly storesAlpha: boolean | "unless rank";
  /** Whether layers stand in the maps of the original code, several in one. */
  readonly fuses?: boolean;
  /** Settings that peft reads from adapter_config.json beside the file. */
  readonly hasConfig?: boolean;
}

/** The layout for the models of a family. */
export type LoraLayoutOf = (family: Family, models: PipelineModels) => LoraLayout;
