// A latent reward model before any training: a diffusion model's own UNet and text encoders, and fresh projections.
import {
  CLIPTextModel,
  CLIPTextModelWithProjection,
  type TextToImage,
  UNet2DConditionModel,
} from "@spo/diffusion";
import { readClipFiles } from "@spo/scorers";
import {
  copyWeights,
  type Generator,
  keep,
  noGrad,
  scope,
  type Tensor,
  tensor,
  UserError,
  zeros,
} from "@spo/torch";
import { LatentRewardModel, type LatentRewardSettings } from "./latent-reward-model.js";

/** ln(1/0.07), CLIP's value before training. */
const INITIAL_LOGIT_SCALE = 2.6592;
/** Standard deviation of a fresh visual projection. Source: as LATENT_SCALE, the code of LPO. */
const VISUAL_STD = 0.02;

/** What a new latent reward model is made of, beside the diffusion model. */
export interface NewLrmOptions {
  settings: LatentRewardSettings;
  /** A CLIP whose text projection it starts with, as the published ones do; null: drawn. SDXL's second text encoder has its own. */
  clip: string | null;
  /** Width of the vectors that are compared, where no CLIP and no second text encoder gives it; default: the width of the text. */
  width?: number;
  /** Of what is drawn. */
  generator: Generator;
}

/**
 * Copies the UNet and the text encoders of a pipeline, so that training leaves it as it is; on its device, in float32.
 *
 * Throws a UserError (`CONFIG`) for a model whose denoiser is no UNet, (`DATA`) for a CLIP whose projection does not fit.
 */
export function newLrm(
  pipe: TextToImage,
  { settings, clip, width, generator }: NewLrmOptions,
): LatentRewardModel {
  const { unet, first, second } = partsOf(pipe);
  const hidden = first.config.hidden_size;
  const text = second
    ? undefined
    : clip === null
      ? drawnProjection({ hidden, width: width ?? hidden }, generator)
      : projectionOf(clip, hidden);
  const lrm = blankLrm(pipe, { settings, projectionDim: text?.shape[0] });
  noGrad(() =>
    scope(() => {
      copyWeights(unet, lrm.unet);
      copyWeights(first, lrm.text_encoder);
      if (lrm.text_encoder_2 && second) copyWeights(second, lrm.text_encoder_2);
      lrm.visual_projection.weight.assign(
        zeros(lrm.visual_projection.weight.shape).normal_(0, VISUAL_STD, { generator }),
      );
      if (text) lrm.text_projection?.weight.assign(text);
      lrm.logit_scale.assign(tensor(INITIAL_LOGIT_SCALE));
    }),
  );
  text?.dispose();
  lrm.to({ dtype: "float32", device: unet.device });
  keep(lrm.parameters());
  return lrm;
}

/** Its shapes, without values. projectionDim: of the vectors that are compared; default: the width of the text. Throws as `newLrm`. */
export function blankLrm(
  pipe: TextToImage,
  { settings, projectionDim }: { settings: LatentRewardSettings; projectionDim?: number },
): LatentRewardModel {
  const { unet, first, second } = partsOf(pipe);
  const textEncoder2 = second && new CLIPTextModelWithProjection(second.config);
  const [high, wide] = unet.sampleSize;
  return new LatentRewardModel({
    unet: unet.blank(),
    textEncoder: new CLIPTextModel(first.config),
    textEncoder2,
    projectionDim: textEncoder2?.projectionDim ?? projectionDim ?? first.config.hidden_size,
    settings,
    nativeSize: [high * pipe.vae.factor, wide * pipe.vae.factor],
  });
}

/** What of a pipeline a latent reward model is made of. */
function partsOf({ denoiser, models, family }: TextToImage) {
  const { text_encoder: first, text_encoder_2: second } = models as Record<string, unknown>;
  if (!(denoiser instanceof UNet2DConditionModel) || !(first instanceof CLIPTextModel) || !denoiser.mid_block)
    throw new UserError(
      `A latent reward model is made of a UNet with a middle block; ${family.title} has none.`,
      {
        code: "CONFIG",
        hint: "Train one that looks at images: --kind pixel --init CLIP.",
      },
    );
  return {
    unet: denoiser,
    first,
    second: second instanceof CLIPTextModelWithProjection ? second : undefined,
  };
}

/** [width, hidden], as transformers draws a CLIP's. */
const drawnProjection = (
  { hidden, width }: { hidden: number; width: number },
  generator: Generator,
): Tensor =>
  keep(noGrad(() => scope(() => zeros([width, hidden]).normal_(0, hidden ** -0.5, { generator }))));

/** A CLIP's text projection [p, hidden]. */
function projectionOf(clip: string, hidden: number): Tensor {
  return keep(
    scope(() => {
      const weight = readClipFiles(clip).weights.get("text_projection.weight");
      if (weight?.shape[1] === hidden) return weight.to({ dtype: "float32" }).clone();
      throw new UserError(
        `${clip}: its text projection takes states of width ${weight?.shape[1]}; those of the base's text encoder have ${hidden}.`,
        {
          code: "DATA",
          hint: "Give the CLIP of the base's text encoder (for Stable Diffusion 1.5 openai/clip-vit-large-patch14), or no init.",
        },
      );
    }),
  );
}
