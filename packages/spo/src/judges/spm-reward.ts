import { pixelsFromRgb } from "@spo/data/pixels";
import { type ClipTokenizer, type PlaceOptions, requireKnownIds, requireTextFits } from "@spo/diffusion";
import {
  featureRows,
  type Reward,
  type RgbImage,
  type ScoreProcessor,
  scorePixels,
  unit,
} from "@spo/scorers";
import { cat, keep, noGrad, scope, type Tensor, tensor } from "@spo/torch";
import { loadSpm, type StepAwarePreferenceModel } from "../spm/spm.js";

/** The step-aware preference model's score of finished images: at timestep 0, with the pixels as SPO shows them (algorithm 3a). */
class SpmReward implements Reward {
  readonly name = "spm";
  readonly #spm: StepAwarePreferenceModel;
  readonly #processor: ScoreProcessor;
  readonly #tokenizer: ClipTokenizer;

  constructor(spm: StepAwarePreferenceModel, processor: ScoreProcessor, tokenizer: ClipTokenizer) {
    this.#spm = spm;
    this.#processor = processor;
    this.#tokenizer = tokenizer;
    requireTextFits(tokenizer, { config: spm.config.text_config }, "tokenizer of spm");
  }

  score(images: readonly RgbImage[], prompts: readonly string[]): number[] {
    return noGrad(() =>
      scope(() => {
        const texts = [...new Set(prompts)]; // the images of one prompt share its features
        const { device } = this.#spm.logit_scale;
        const encoder = { config: this.#spm.config.text_config };
        const text = this.#spm.textFeatures(
          this.#tokenizer.encodeBatch(texts, (ids) => requireKnownIds(ids, texts, encoder)),
        );
        const rows = tensor(
          prompts.map((prompt) => texts.indexOf(prompt)),
          { dtype: "int64", device },
        );
        return this.#spm
          .scores(this.#imageFeatures(images), text.indexSelect(0, rows))
          .to({ dtype: "float32" })
          .toNumbers();
      }),
    );
  }

  features(images: readonly RgbImage[]): number[][] {
    return noGrad(() => scope(() => featureRows(unit(this.#imageFeatures(images)).to({ dtype: "float32" }))));
  }

  #imageFeatures(images: readonly RgbImage[]): Tensor {
    const { dtype, device } = this.#spm.logit_scale;
    const pixels = cat(images.map((image) => scorePixels(pixelsFromRgb(image), this.#processor)));
    return this.#spm.imageFeatures(pixels.to({ dtype, device }), 0);
  }

  dispose(): void {
    this.#spm.dispose();
  }
}

/** path: a preference model's folder. Throws as `loadSpm`. */
export function loadSpmReward(
  path: string,
  tokenizer: () => ClipTokenizer,
  options: PlaceOptions = {},
): Reward {
  const { spm, processor } = scope(() => {
    const loaded = loadSpm(path, options);
    keep(loaded.spm.parameters());
    return loaded;
  });
  return new SpmReward(spm, processor, tokenizer());
}
