// CLIP as a scorer: PickScore and CLIP score are the same sum on other weights.
import { type ClipTokenizer, type PlaceOptions, requireKnownIds, requireTextFits } from "@spo/diffusion";
import { noGrad, scope, type Tensor, tensor } from "@spo/torch";
import { type CLIPModel, loadClip } from "../clip/clip-model.js";
import type { ScoreProcessor } from "../clip/preprocess.js";
import { featureRows } from "./feature-rows.js";
import type { Reward, RgbImage } from "./reward.js";
import { hpsPixels, transformersPixels } from "./reward-pixels.js";

export type ToPixels = (images: readonly RgbImage[], processor: ScoreProcessor) => Tensor;

/** Image and text in one space: factor · cos(image, text). */
class ClipReward implements Reward {
  readonly name: string;
  readonly #model: CLIPModel;
  readonly #processor: ScoreProcessor;
  readonly #tokenizer: ClipTokenizer;
  readonly #toPixels: ToPixels;
  readonly #factor: (logitScale: number) => number;

  constructor(
    name: string,
    {
      model,
      processor,
      tokenizer,
    }: { model: CLIPModel; processor: ScoreProcessor; tokenizer: ClipTokenizer },
    { toPixels, factor }: { toPixels: ToPixels; factor: (logitScale: number) => number },
  ) {
    this.name = name;
    this.#model = model;
    this.#processor = processor;
    this.#tokenizer = tokenizer;
    this.#toPixels = toPixels;
    this.#factor = factor;
    requireTextFits(tokenizer, { config: model.config.text_config }, `tokenizer of ${name}`);
  }

  score(images: readonly RgbImage[], prompts: readonly string[]): number[] {
    return noGrad(() =>
      scope(() => {
        const texts = [...new Set(prompts)]; // the images of one prompt share its features
        const { device } = this.#model.logit_scale;
        const encoder = { config: this.#model.config.text_config };
        const ids = this.#tokenizer.encodeBatch(texts, (known) => requireKnownIds(known, texts, encoder));
        const text = this.#model.textFeatures(ids).to({ dtype: "float32" });
        const rows = tensor(
          prompts.map((prompt) => texts.indexOf(prompt)),
          { dtype: "int64", device },
        );
        const cosines = this.#imageFeatures(images).mul(text.indexSelect(0, rows)).sum(-1);
        return cosines.mul(this.#factor(this.#model.logit_scale.item())).toNumbers();
      }),
    );
  }

  features(images: readonly RgbImage[]): number[][] {
    return noGrad(() => scope(() => featureRows(this.#imageFeatures(images))));
  }

  /** [n, projection] float32, of length 1. */
  #imageFeatures(images: readonly RgbImage[]): Tensor {
    const { dtype, device } = this.#model.logit_scale;
    const pixels = this.#toPixels(images, this.#processor).to({ dtype, device });
    return this.#model.imageFeatures(pixels).to({ dtype: "float32" });
  }

  dispose(): void {
    this.#model.dispose();
  }
}

/**
 * PickScore: exp(logit_scale) · cos, on CLIP-H/14 trained on human choices.
 *
 * path: `yuvalkirstain/PickScore_v1`'s folder or file, or any CLIP. Source: Kirstain et al. 2023, section 3.
 */
export const loadPickScore = (
  path: string,
  tokenizer: () => ClipTokenizer,
  options: PlaceOptions = {},
): Reward =>
  new ClipReward(
    "pickscore",
    { ...loadClip(path, options), tokenizer: tokenizer() },
    { toPixels: transformersPixels, factor: Math.exp },
  );

/** CLIP score: 100 · cos. Source: Hessel et al. 2021, without their cut at 0, so that bad images are distinguished too. */
export const loadClipScore = (
  path: string,
  tokenizer: () => ClipTokenizer,
  options: PlaceOptions = {},
): Reward =>
  new ClipReward(
    "clip",
    { ...loadClip(path, options), tokenizer: tokenizer() },
    { toPixels: transformersPixels, factor: () => 100 },
  );

/**
 * HPS v2: cos, on CLIP-H/14 trained on human choices.
 *
 * path: `HPS_v2.1_compressed.pt` or `HPS_v2_compressed.pt`, in open_clip's naming. Source: Wu et al. 2023; hpsv2 1.2.0, img_score.py.
 */
export const loadHps = (path: string, tokenizer: () => ClipTokenizer, options: PlaceOptions = {}): Reward =>
  new ClipReward(
    "hps",
    { ...loadClip(path, options), tokenizer: tokenizer() },
    { toPixels: hpsPixels, factor: () => 1 },
  );
