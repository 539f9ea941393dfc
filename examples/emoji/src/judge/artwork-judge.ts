import { join } from "node:path";
import { checkConfig, count, MOST, type PlaceOptions, readJsonObject } from "@spo/diffusion";
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
  storedWeights,
  type Tensor,
  writeFileAtomic,
  writeSafetensors,
} from "@spo/torch";
import { z } from "zod";

const ArtworkJudgeConfig = z.strictObject({
  model_type: z.literal("artwork_judge").default("artwork_judge"),
  /** Things that it tells apart, in the order of its outputs. */
  concepts: z.array(z.string()).min(2).max(MOST.width),
  captions: z.array(z.string()).min(2).max(MOST.width),
  /** Channels of its stages; each halves the side. */
  widths: z.array(count(MOST.width).multipleOf(8)).min(1).max(MOST.levels),
  /** The same of the network that looks at patches. */
  patchWidths: z.array(count(MOST.width).multipleOf(8)).min(1).max(MOST.levels),
});
type ArtworkJudgeConfig = z.output<typeof ArtworkJudgeConfig>;

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

/**
 * A small convolutional network that says what a picture shows and whether it looks like real artwork.
 *
 * It gets no noise level and no timestep. It labels preference pairs, or judges results, never both with the same weights.
 */
export class ArtworkJudge extends Module {
  readonly stages: Stage[];
  readonly concept: Linear;
  readonly patch_stages: Stage[];
  readonly patch_realism: Conv2d;
  readonly #config: ArtworkJudgeConfig;

  constructor(config: ArtworkJudgeConfig) {
    super();
    this.#config = config;
    this.stages = config.widths.map((width, i) => new Stage(config.widths[i - 1] ?? 3, width));
    const features = 2 * config.widths.reduce((sum, width) => sum + width, 0);
    this.concept = new Linear(features, config.concepts.length);
    this.patch_stages = config.patchWidths.map(
      (width, i) => new Stage(config.patchWidths[i - 1] ?? 3, width),
    );
    this.patch_realism = new Conv2d(config.patchWidths.at(-1) as number, 1, 1);
  }

  get config(): ArtworkJudgeConfig {
    return this.#config;
  }

  /**
   * x [n, 3, h, w] in [−1, 1] → mean and maximum of every stage's channels [n, 2·Σwidths]: the late ones know the content, the early ones
   * how it is drawn.
   */
  features(x: Tensor): Tensor {
    return scope(() => {
      let h = x.neg().add(1); // white paper is 0, as the padding of the convolutions is
      const pooled: Tensor[] = [];
      for (const stage of this.stages) {
        h = stage.forward(h);
        pooled.push(h.mean([2, 3]), h.amax([2, 3]));
      }
      return cat(pooled, 1);
    });
  }

  /**
   * log p(concept | image) [n, concepts], from features [n, 2·Σwidths].
   *
   * dropout: a generator while training, to drop 30 % of the features.
   */
  logProbs(features: Tensor, dropout?: Generator): Tensor {
    return scope(() => {
      const kept = dropout
        ? features
            .mul(
              rand(features.shape, { generator: dropout, device: features.device })
                .gt(0.3)
                .to({ dtype: "float32" }),
            )
            .div(0.7)
        : features;
      return this.concept.forward(kept).logSoftmax(-1);
    });
  }

  /**
   * Logit of being real artwork rather than generated or damaged [n], from x [n, 3, h, w] in [−1, 1].
   *
   * The mean over patches: a network that saw whole images would memorise the few real ones.
   */
  realism(x: Tensor): Tensor {
    return scope(() => {
      let h = x.neg().add(1);
      for (const stage of this.patch_stages) h = stage.forward(h);
      return this.patch_realism.forward(h).mean([1, 2, 3]);
    });
  }
}

/** Writes config.json and model.safetensors. */
export function saveArtworkJudge(folder: string, judge: ArtworkJudge): void {
  const path = join(folder, "model.safetensors");
  const halves = storedWeights(judge.namedParameters(), { dtype: "float16", place: path });
  writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(judge.config, null, 2)}\n`);
  writeSafetensors(path, halves);
  for (const tensor of halves.values()) tensor.dispose();
}

/** Reads the folder that `saveArtworkJudge` writes. Throws UserErrors for what is missing, damaged or does not fit. */
export function loadArtworkJudge(
  folder: string,
  { device }: Pick<PlaceOptions, "device"> = {},
): ArtworkJudge {
  const path = join(folder, "config.json");
  const judge = new ArtworkJudge(checkConfig(ArtworkJudgeConfig, readJsonObject(path), path));
  const source = join(folder, "model.safetensors");
  const weights = readSafetensors(source);
  loadWeights(judge, weights, { source, dtype: "float32", device });
  for (const tensor of weights.values()) tensor.dispose();
  keep(judge.parameters());
  return judge;
}
