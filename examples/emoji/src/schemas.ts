// The settings of the example's own recipes. No tensor code.
import { MakePairsConfig } from "./make-pairs/make-pairs-config.js";
import { PretrainClipConfig } from "./pretrain/pretrain-clip-config.js";
import { PretrainJudgeConfig } from "./pretrain/pretrain-judge-config.js";
import { PretrainLrmConfig } from "./pretrain/pretrain-lrm-config.js";
import { PretrainTextToImageConfig } from "./pretrain/pretrain-text-to-image-config.js";
import { PretrainVaeConfig } from "./pretrain/pretrain-vae-config.js";

export {
  QUICKSTART_FAMILIES,
  type QuickstartFamily,
  type QuickstartFiles,
  type QuickstartJudge,
  quickstartFiles,
} from "./quickstart/quickstart-families.js";
export type * from "./settings.gen.js";
export {
  MakePairsConfig,
  PretrainClipConfig,
  PretrainJudgeConfig,
  PretrainLrmConfig,
  PretrainTextToImageConfig,
  PretrainVaeConfig,
};

/**
 * The settings of each of the example's recipes, by its command, which is also the `kind` of its runs. In the order of
 * docs/configuration.md.
 */
export const EXAMPLE_SCHEMAS = {
  "data pairs": MakePairsConfig,
  "pretrain vae": PretrainVaeConfig,
  "pretrain text-to-image": PretrainTextToImageConfig,
  "pretrain clip": PretrainClipConfig,
  "pretrain lrm": PretrainLrmConfig,
  "pretrain judge": PretrainJudgeConfig,
} as const;
