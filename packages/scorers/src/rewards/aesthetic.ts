import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { PlaceOptions } from "@spo/diffusion";
import { keep, loadWeights, noGrad, openWeights, scope, type Tensor, UserError } from "@spo/torch";
import { type CLIPModel, loadClip } from "../clip/clip-model.js";
import type { ScoreProcessor } from "../clip/preprocess.js";
import { featureRows } from "./feature-rows.js";
import type { Reward, RgbImage } from "./reward.js";
import { torchvisionPixels } from "./reward-pixels.js";
import { ScoreMlp, scoreMlpWidths } from "./score-mlp.js";

/** LAION's aesthetic score, about 1 to 10: an MLP on CLIP's image features of length 1. The prompt does not matter. */
class AestheticReward implements Reward {
  readonly name = "aesthetic";
  readonly #clip: CLIPModel;
  readonly #processor: ScoreProcessor;
  readonly #head: ScoreMlp;

  constructor({ model, processor }: { model: CLIPModel; processor: ScoreProcessor }, head: ScoreMlp) {
    this.#clip = model;
    this.#processor = processor;
    this.#head = head;
  }

  score(images: readonly RgbImage[]): number[] {
    return noGrad(() => scope(() => this.#head.forward(this.#imageFeatures(images)).toNumbers()));
  }

  features(images: readonly RgbImage[]): number[][] {
    return noGrad(() => scope(() => featureRows(this.#imageFeatures(images))));
  }

  /** [n, projection] float32, of length 1. */
  #imageFeatures(images: readonly RgbImage[]): Tensor {
    const { dtype, device } = this.#clip.logit_scale;
    const pixels = torchvisionPixels(images, this.#processor).to({ dtype, device });
    return this.#clip.imageFeatures(pixels).to({ dtype: "float32" });
  }

  dispose(): void {
    this.#clip.dispose();
    this.#head.dispose();
  }
}

/**
 * path: the head's file (`sac+logos+ava1-l14-linearMSE.pth`). clip: OpenAI's ViT-L/14 in any layout; default: what stands beside the head.
 *
 * Throws UserErrors for what is missing, damaged, or a CLIP of another width. Source: improved-aesthetic-predictor.
 */
export function loadAesthetic(path: string, clip: string | undefined, options: PlaceOptions = {}): Reward {
  const beside = dirname(path);
  if (clip === undefined && !existsSync(join(beside, "config.json"))) {
    throw new UserError(
      `aesthetic:${path} is a head on CLIP's image features, and there is no CLIP beside it.`,
      {
        code: "DATA",
        hint: `Name its folder: aesthetic:${path},clip=FOLDER, with OpenAI's ViT-L/14 for the published head.`,
      },
    );
  }
  const head = loadHead(path, options);
  const loaded = loadClip(clip ?? beside, options);
  const wanted = head.layers[0] === "dropout" ? 0 : (head.layers[0]?.weight.shape[1] as number);
  const { projection_dim: has } = loaded.model.config;
  if (wanted !== has) {
    throw new UserError(
      `${path} reads image features of width ${wanted}; those of ${clip ?? beside} have ${has}.`,
      {
        code: "DATA",
        hint: "The published head was trained on OpenAI's ViT-L/14, whose features have 768.",
      },
    );
  }
  return new AestheticReward(loaded, head);
}

function loadHead(path: string, { device }: PlaceOptions): ScoreMlp {
  return scope(() => {
    using file = openWeights(path);
    const weights = file.tensors();
    const head = new ScoreMlp(scoreMlpWidths(weights, path));
    // Always float32: the head is small, and its five maps in a row lose bits.
    loadWeights(head, weights, { source: path, dtype: "float32", device });
    keep(head.parameters());
    return head;
  });
}
