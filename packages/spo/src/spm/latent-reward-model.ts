import type {
  CLIPTextModel,
  CLIPTextModelWithProjection,
  UNet2DConditionModel,
  UNetConditions,
} from "@spo/diffusion";
import { unit } from "@spo/scorers";
import { cat, Linear, Module, parameter, scope, type Tensor, tensor } from "@spo/torch";

/** How a latent reward model makes an image vector of the states of its UNet. */
export interface LatentRewardSettings {
  /** s of the visual feature enhancement: away + s·(with text − away). 1: none, at half the cost. */
  guidanceScale: number;
  /** Whether the levels on the way down count too, or the middle alone. */
  multiScale: boolean;
  /** Whether the levels are enhanced as the middle is. */
  multiScaleCfg: boolean;
}

/** As published. Source: Zhang et al. 2025 (LPO), the configs of its code. */
export const PUBLISHED_LRM: LatentRewardSettings = {
  guidanceScale: 7.5,
  multiScale: true,
  multiScaleCfg: false,
};
/** The parts of a latent reward model, named as the folders of its checkpoint are. */
export interface LatentRewardParts {
  unet: UNet2DConditionModel;
  textEncoder: CLIPTextModel;
  /** SDXL's. With it the text vector is its projected state, and there is no further projection. */
  textEncoder2?: CLIPTextModelWithProjection;
  /** Width of the vectors that are compared. */
  projectionDim: number;
  settings?: LatentRewardSettings;
  /** Height and width in pixels that SDXL's UNet is told. */
  nativeSize: readonly [height: number, width: number];
}

/** What has been read of n texts. */
export type LatentTexts = Readonly<{
  /** What the UNet attends to, [n, L, d]. */
  context: Tensor;
  /** What images are compared with, [n, p]. */
  features: Tensor;
}>;

/**
 * Latent reward model: the way down and the middle of a diffusion UNet score noisy latents for a text, at every timestep. No image, no
 * way up.
 *
 * The fields are the published files' names. Source: Zhang et al. 2025, "Diffusion model as a noise-aware latent reward model", and its
 * code.
 */
export class LatentRewardModel extends Module {
  readonly unet: UNet2DConditionModel;
  readonly text_encoder: CLIPTextModel;
  readonly text_encoder_2?: CLIPTextModelWithProjection;
  readonly visual_projection: Linear;
  readonly text_projection?: Linear;
  readonly logit_scale: Tensor;
  readonly #settings: LatentRewardSettings;
  readonly #nativeSize: readonly [number, number];

  constructor({ unet, textEncoder, textEncoder2, projectionDim, settings, nativeSize }: LatentRewardParts) {
    super();
    this.#settings = settings ?? PUBLISHED_LRM;
    this.#nativeSize = nativeSize;
    this.unet = unet;
    this.text_encoder = textEncoder;
    if (textEncoder2) this.text_encoder_2 = textEncoder2;
    this.visual_projection = new Linear(featureWidth(unet, this.#settings), projectionDim, { bias: false });
    if (!textEncoder2)
      this.text_projection = new Linear(textEncoder.config.hidden_size, projectionDim, { bias: false });
    this.logit_scale = parameter([]);
  }

  get settings(): LatentRewardSettings {
    return this.#settings;
  }

  /** Whether a score takes the UNet two rows: with the text, and with the empty one. */
  get isEnhanced(): boolean {
    return this.#settings.guidanceScale !== 1;
  }

  /** The parameters that its scores depend on: all but the UNet's way up. */
  usedParameters(): Map<string, Tensor> {
    const all = this.namedParameters();
    return new Map([...all].filter(([name]) => !/^unet\.(up_blocks|conv_norm_out|conv_out)\./.test(name)));
  }

  /** Token ids by each tokenizer, int64 [n, L] → what the UNet and the scores need of the texts. */
  encode(ids: readonly Tensor[]): LatentTexts {
    return scope(() => {
      const [first, second = first] = ids as [Tensor, Tensor?];
      const one = this.text_encoder.forward(first);
      if (!this.text_encoder_2) {
        const features = (this.text_projection as Linear).forward(one.pooled);
        return { context: one.lastHiddenState, features };
      }
      const two = this.text_encoder_2.forward(second);
      const states = [one, two].map(({ hiddenStates }) => hiddenStates.at(-2) as Tensor);
      return { context: cat(states, -1), features: two.pooled };
    });
  }

  /**
   * Means over space of the states after each level and in the middle, [n, c] each; with `away` [2n, c]: the rows with their texts, then
   * with none.
   *
   * latents [n, c, h, w], scaled; t: one for all or [n], in [0, 1000); texts: n rows; away: of the empty text, one row.
   */
  stages(latents: Tensor, t: Tensor | number, texts: LatentTexts, away?: LatentTexts): Tensor[] {
    return scope(() => this.unet.meanStates(latents, t, this.#conditions(texts, away)));
  }

  /** → [n, p], not normalised. away: of the empty text, one row; needed for enhancement alone. Arguments as of `stages`. */
  imageFeatures(latents: Tensor, t: Tensor | number, texts: LatentTexts, away?: LatentTexts): Tensor {
    if (this.isEnhanced && !away) throw new Error("LatentRewardModel: enhancement needs the empty text");
    return scope(() => {
      const { multiScale } = this.#settings;
      const all = this.stages(latents, t, texts, this.isEnhanced ? away : undefined);
      const stages = this.isEnhanced ? all.map((stage, i) => this.#enhanced(stage, i, all.length - 1)) : all;
      return this.visual_projection.forward(cat(multiScale ? stages : stages.slice(-1), 1));
    });
  }

  /** exp(logit_scale)·cos(image, text), row by row, in the scale's dtype: halves would tell few apart. Both [n, p] → [n]. */
  scores(imageFeatures: Tensor, textFeatures: Tensor): Tensor {
    return scope(() => {
      const { dtype } = this.logit_scale;
      const [image, text] = [imageFeatures, textFeatures].map((rows) => unit(rows.to({ dtype })));
      return (image as Tensor)
        .mul(text as Tensor)
        .sum(-1)
        .mul(this.logit_scale.exp());
    });
  }

  /** [2n, c] → [n, c]: away + s·(with text − away) in the middle, and in the levels where the settings say so. */
  #enhanced(stage: Tensor, index: number, middle: number): Tensor {
    const { guidanceScale, multiScaleCfg } = this.#settings;
    const [cond, uncond] = stage.chunk(2) as [Tensor, Tensor];
    // The published code of SDXL leaves the first level as it is.
    const guided = index === middle || (multiScaleCfg && !(this.text_encoder_2 && index === 0));
    return guided ? uncond.lerp(cond, guidanceScale) : cond;
  }

  /** The rows with their texts, then, where it is given, as many with the empty one. */
  #conditions(texts: LatentTexts, away?: LatentTexts): UNetConditions {
    const n = texts.context.shape[0] as number;
    const { device } = texts.context;
    const places = [...Array(n).keys(), ...Array<number>(away ? n : 0).fill(n)];
    const context = away
      ? {
          texts: cat([texts.context, away.context]),
          rows: tensor(places, { dtype: "int64", device }),
        }
      : texts.context;
    if (!this.text_encoder_2) return { context };
    const [height, width] = this.#nativeSize;
    return {
      context,
      textEmbeds: away ? cat([texts.features, away.features.expand([n, -1])]) : texts.features,
      timeIds: tensor(
        places.map(() => [height, width, 0, 0, height, width]),
        { device },
      ),
    };
  }
}

/** Width of the concatenated states that the projection takes. */
export function featureWidth(
  unet: UNet2DConditionModel,
  { multiScale }: Pick<LatentRewardSettings, "multiScale">,
): number {
  const levels = unet.config.block_out_channels;
  const middle = levels.at(-1) as number;
  return multiScale ? levels.reduce((sum, width) => sum + width, middle) : middle;
}
