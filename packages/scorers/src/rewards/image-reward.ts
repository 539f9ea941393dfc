import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { checkConfig, count, MOST, type PlaceOptions, readJsonObject } from "@spo/diffusion";
import {
  keep,
  loadWeights,
  Module,
  noGrad,
  openWeights,
  scope,
  type Tensor,
  tensor,
  UserError,
} from "@spo/torch";
import { z } from "zod";
import { clipProcessor } from "../clip/preprocess.js";
import { type BertTokenizer, loadBertTokenizer } from "./bert-tokenizer.js";
import { BlipVision, type BlipVisionSizes } from "./blip-vision.js";
import { featureRows } from "./feature-rows.js";
import { MedBert, type MedBertSizes } from "./med-bert.js";
import type { Reward, RgbImage } from "./reward.js";
import { torchvisionPixels } from "./reward-pixels.js";
import { ScoreMlp, scoreMlpWidths } from "./score-mlp.js";

/** Places of a prompt: longer ones are cut. */
const PROMPT_LENGTH = 35;
/** Of the scores on the training data; what is published is standardised by them. */
const MEAN = 0.16717362830052426;
const STD = 1.0333394966054072;

class Blip extends Module {
  readonly visual_encoder: BlipVision;
  readonly text_encoder: MedBert;

  constructor(vision: BlipVisionSizes, text: MedBertSizes) {
    super();
    this.visual_encoder = new BlipVision(vision);
    this.text_encoder = new MedBert(text);
  }
}

/** BLIP's encoder over image and prompt together, and a head on its first place. Source: Xu et al. 2023; ImageReward 1.5. */
class ImageRewardModel extends Module {
  readonly blip: Blip;
  readonly mlp: ScoreMlp;

  constructor(vision: BlipVisionSizes, text: MedBertSizes, head: ConstructorParameters<typeof ScoreMlp>[0]) {
    super();
    this.blip = new Blip(vision, text);
    this.mlp = new ScoreMlp(head);
  }

  /** pixels [n, 3, image, image], normalised → image tokens [n, 1 + patches, width]. */
  imageTokens(pixels: Tensor): Tensor {
    return this.blip.visual_encoder.forward(pixels);
  }

  /** ids int64 and seen bool [n, L], image tokens [n, M, width] → [n]. */
  scores(ids: Tensor, seen: Tensor, imageTokens: Tensor): Tensor {
    return scope(() => {
      const first = this.blip.text_encoder.forward(ids, seen, imageTokens).select(1, 0);
      return this.mlp
        .forward(first.to({ dtype: "float32" }))
        .sub(MEAN)
        .div(STD);
    });
  }
}

class ImageReward implements Reward {
  readonly name = "imagereward";
  readonly #model: ImageRewardModel;
  readonly #size: number;
  readonly #tokenizer: BertTokenizer;

  constructor(model: ImageRewardModel, size: number, tokenizer: BertTokenizer) {
    this.#model = model;
    this.#size = size;
    this.#tokenizer = tokenizer;
  }

  score(images: readonly RgbImage[], prompts: readonly string[]): number[] {
    return noGrad(() =>
      scope(() => {
        const encoded = prompts.map((prompt) => this.#tokenizer.encode(prompt, PROMPT_LENGTH));
        const device = this.#model.blip.visual_encoder.cls_token.device;
        const ids = tensor(
          encoded.map((each) => each.ids),
          { dtype: "int64", device },
        );
        const seen = tensor(
          encoded.map((each) => each.seen.map(Number)),
          { device },
        ).ne(0);
        return this.#model.scores(ids, seen, this.#imageTokens(images)).toNumbers();
      }),
    );
  }

  features(images: readonly RgbImage[]): number[][] {
    return noGrad(() =>
      scope(() => {
        const first = this.#imageTokens(images).select(1, 0).to({ dtype: "float32" });
        return featureRows(first.div(first.linalgVectorNorm(2, -1, true)));
      }),
    );
  }

  #imageTokens(images: readonly RgbImage[]): Tensor {
    const { dtype, device } = this.#model.blip.visual_encoder.cls_token;
    return this.#model.imageTokens(
      torchvisionPixels(images, clipProcessor(this.#size)).to({ dtype, device }),
    );
  }

  dispose(): void {
    this.#model.dispose();
  }
}

/** med_config.json, as far as shapes do not tell it. */
const MedConfig = z.looseObject({
  num_attention_heads: count(MOST.heads),
  layer_norm_eps: z.number().positive().max(1).default(1e-12),
  hidden_act: z.literal("gelu").default("gelu"),
});

/** BERT's and the vision transformer's heads have this width in all published sizes. */
const HEAD_WIDTH = 64;

/**
 * Loads ImageReward from its published file, or the folder that has it. Sizes come from the shapes; heads of the text from a
 * med_config.json beside it.
 *
 * visionHeads: default width / 64, as in ViT-B and ViT-L. Throws UserErrors for what is missing, damaged or another model.
 */
export function loadImageRewardModel(
  path: string,
  { visionHeads, dtype = "float32", device }: { visionHeads?: number } & PlaceOptions = {},
): { model: ImageRewardModel; size: number } {
  const file = weightsFile(path);
  const config = join(dirname(file), "med_config.json");
  const med = existsSync(config) ? checkConfig(MedConfig, readJsonObject(config), config) : undefined;
  return scope(() => {
    using opened = openWeights(file);
    const weights = opened.tensors();
    const vision = visionSizes(weights, file, visionHeads);
    const text = textSizes(weights, file, vision.width, med);
    const model = new ImageRewardModel(vision, text, scoreMlpWidths(weights, file, "mlp."));
    loadWeights(model, weights, { source: file, ignore: isUnused, dtype, device });
    model.mlp.to({ dtype: "float32" });
    keep(model.parameters());
    return { model, size: vision.image };
  });
}

/**
 * path: `ImageReward.pt`, or its folder. vocabulary: vocab.txt of bert-base-uncased, or its folder; default: beside the weights.
 *
 * Throws as `loadImageRewardModel`.
 */
export function loadImageReward(
  path: string,
  vocabulary: string | undefined,
  options: { visionHeads?: number } & PlaceOptions = {},
): Reward {
  const { model, size } = loadImageRewardModel(path, options);
  const beside = join(dirname(weightsFile(path)), "vocab.txt");
  if (vocabulary === undefined && !existsSync(beside)) {
    throw new UserError(`imagereward:${path} has no vocab.txt beside it.`, {
      code: "DATA",
      hint: `It is bert-base-uncased's, which ImageReward is published without: imagereward:${path},tokenizer=FOLDER or its file.`,
    });
  }
  return new ImageReward(model, size, loadBertTokenizer(vocabulary ?? beside, ["[DEC]", "[ENC]"]));
}

const FILES = ["ImageReward.pt", "ImageReward.safetensors"];

function weightsFile(path: string): string {
  if (!existsSync(path) || !statSync(path).isDirectory()) return path;
  const found = FILES.map((name) => join(path, name)).find((file) => existsSync(file));
  if (!found) throw new UserError(`${path} has no ${FILES.join(" or ")}.`, { code: "DATA" });
  return found;
}

/** What the published file has for training alone, and buffers. */
const isUnused = (name: string): boolean =>
  (name.startsWith("blip.") && !/^blip\.(visual_encoder|text_encoder)\./.test(name)) ||
  name.endsWith(".position_ids") ||
  name.includes("text_encoder.pooler.");

type Weights = ReadonlyMap<string, Tensor>;

function shapeOf(weights: Weights, source: string, name: string): readonly number[] {
  const found = weights.get(name)?.shape;
  if (found) return found;
  throw new UserError(`${source} is no ImageReward: it has no ${name}.`, {
    code: "DATA",
    hint: "Give ImageReward.pt as its authors publish it.",
  });
}

const countLayers = (weights: Weights, prefix: string): number =>
  new Set(
    [...weights.keys()].flatMap((name) =>
      name.startsWith(prefix) ? [name.slice(prefix.length).split(".")[0]] : [],
    ),
  ).size;

function headsOf(width: number, source: string): number {
  if (width % HEAD_WIDTH === 0) return width / HEAD_WIDTH;
  throw new UserError(`${source}: the shapes do not tell how many heads a tower of width ${width} has.`, {
    code: "DATA",
    hint: "It is no published ImageReward.",
  });
}

function visionSizes(weights: Weights, source: string, heads: number | undefined): BlipVisionSizes {
  const at = "blip.visual_encoder.";
  const [width, , patch] = shapeOf(weights, source, `${at}patch_embed.proj.weight`) as [
    number,
    number,
    number,
  ];
  const [, tokens] = shapeOf(weights, source, `${at}pos_embed`) as [number, number];
  const [inner] = shapeOf(weights, source, `${at}blocks.0.mlp.fc1.weight`) as [number];
  return {
    width,
    heads: heads ?? headsOf(width, source),
    inner,
    layers: countLayers(weights, `${at}blocks.`),
    image: Math.round(Math.sqrt(tokens - 1)) * patch,
    patch,
  };
}

function textSizes(
  weights: Weights,
  source: string,
  imageWidth: number,
  med: z.output<typeof MedConfig> | undefined,
): MedBertSizes {
  const at = "blip.text_encoder.";
  const [vocabulary, width] = shapeOf(weights, source, `${at}embeddings.word_embeddings.weight`) as [
    number,
    number,
  ];
  const [positions] = shapeOf(weights, source, `${at}embeddings.position_embeddings.weight`) as [number];
  const [inner] = shapeOf(weights, source, `${at}encoder.layer.0.intermediate.dense.weight`) as [number];
  return {
    vocabulary,
    positions,
    width,
    heads: med?.num_attention_heads ?? headsOf(width, source),
    inner,
    layers: countLayers(weights, `${at}encoder.layer.`),
    imageWidth,
    eps: med?.layer_norm_eps ?? 1e-12,
  };
}
