import { join } from "node:path";
import { checkConfig, readJson } from "@spo/diffusion";
import {
  Conv2d,
  cat,
  type Generator,
  GroupNorm,
  keep,
  Linear,
  loadWeights,
  Module,
  rand,
  readSafetensors,
  scope,
  silu,
  type Tensor,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { z } from "zod";

export const ArtworkJudgeConfig = z.strictObject({
  model_type: z.literal("artwork_judge").default("artwork_judge"),
  /** Things that it tells apart, in the order of its outputs. */
  concepts: z.array(z.string()).min(2),
  captions: z.array(z.string()).min(2),
  /** Channels of its stages; each halves the side. */
  widths: z.array(z.int().positive()).min(1),
});
export type ArtworkJudgeConfig = z.output<typeof ArtworkJudgeConfig>;

class Stage extends Module {
  readonly conv1: Conv2d;
  readonly norm1: GroupNorm;
  readonly conv2: Conv2d;
  readonly norm2: GroupNorm;

  constructor(inChannels: number, outChannels: number) {
    super();
    this.conv1 = new Conv2d(inChannels, outChannels, 3, { stride: 2, padding: 1 });
    this.norm1 = new GroupNorm(8, outChannels);
    this.conv2 = new Conv2d(outChannels, outChannels, 3, { padding: 1 });
    this.norm2 = new GroupNorm(8, outChannels);
  }

  forward(x: Tensor): Tensor {
    return scope(() =>
      silu(this.norm2.forward(this.conv2.forward(silu(this.norm1.forward(this.conv1.forward(x)))))),
    );
  }
}

export interface ArtworkVerdict {
  /** log p(concept | image) [n, concepts]. */
  logProbs: Tensor;
  /** Logit of being real artwork rather than generated or damaged [n]. */
  realism: Tensor;
}

/**
 * A small convolutional network that says what a picture shows and whether it looks like real artwork.
 *
 * It knows neither noise nor timesteps: it labels preference pairs, or judges results, never both with the same weights.
 */
export class ArtworkJudge extends Module {
  readonly stages: Stage[];
  readonly concept: Linear;
  readonly realism_1: Linear;
  readonly realism_2: Linear;
  readonly #config: ArtworkJudgeConfig;

  constructor(config: ArtworkJudgeConfig) {
    super();
    this.#config = config;
    this.stages = config.widths.map((width, i) => new Stage(config.widths[i - 1] ?? 3, width));
    const features = 2 * (config.widths.at(-1) as number);
    this.concept = new Linear(features, config.concepts.length);
    this.realism_1 = new Linear(features, 64);
    this.realism_2 = new Linear(64, 1);
  }

  get config(): ArtworkJudgeConfig {
    return this.#config;
  }

  /** x [n, 3, h, w] in [−1, 1] → mean and maximum of the last stage's channels [n, 2·width]. */
  features(x: Tensor): Tensor {
    return scope(() => {
      let h = x;
      for (const stage of this.stages) h = stage.forward(h);
      return cat([h.mean([2, 3]), h.amax([2, 3])], 1);
    });
  }

  /** From features [n, 2·width]. dropout: a generator while training, to drop 30 % of the features. */
  verdict(features: Tensor, dropout?: Generator): ArtworkVerdict {
    return scope(() => {
      const dropped = (): Tensor =>
        dropout
          ? features
              .mul(rand(features.shape, { generator: dropout }).gt(0.3).to({ dtype: "float32" }))
              .div(0.7)
          : features;
      const realism = this.realism_2.forward(silu(this.realism_1.forward(dropped()))).squeeze(1);
      return { logProbs: this.concept.forward(dropped()).logSoftmax(-1), realism };
    });
  }
}

/** Writes config.json and model.safetensors. */
export function saveArtworkJudge(folder: string, judge: ArtworkJudge): void {
  writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(judge.config, null, 2)}\n`);
  const halves = new Map(
    [...judge.namedParameters()].map(([name, value]) => [name, value.detach().to({ dtype: "float16" })]),
  );
  writeSafetensors(join(folder, "model.safetensors"), halves);
  for (const tensor of halves.values()) tensor.dispose();
}

/** Reads the folder that `saveArtworkJudge` writes. Throws UserErrors for what is missing, damaged or does not fit. */
export function loadArtworkJudge(folder: string): ArtworkJudge {
  const path = join(folder, "config.json");
  const judge = new ArtworkJudge(checkConfig(ArtworkJudgeConfig, readJson(path), path));
  const source = join(folder, "model.safetensors");
  const weights = readSafetensors(source);
  loadWeights(judge, weights, { source, dtype: "float32" });
  for (const tensor of weights.values()) tensor.dispose();
  keep(judge.parameters());
  return judge;
}
