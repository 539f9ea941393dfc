// Trains a small CLIP on captioned artwork: what the preference model starts from, as the published one starts from PickScore.

import { readPrompts } from "@spo/data";
import { augment } from "@spo/data/pixels";
import { loadTokenizer, loadVae } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import { clipProcessor, roundTrip, trainPixels, unit } from "@spo/scorers";
import {
  AdamW,
  cat,
  generatorAt,
  initialize,
  keep,
  noGrad,
  rand,
  randint,
  randn,
  scope,
  type Tensor,
  tensor,
  where,
} from "@spo/torch";
import { initializeTimeConditioning, StepAwarePreferenceModel, saveSpm } from "spo";
import { openContext, type RecipeEvent, type RecipeOptions, Update } from "spo/recipes";
import { readArtwork } from "../data/artwork.js";
import { rowsOfHalf } from "../data/halves.js";
import type { PretrainClipSettings } from "../settings.gen.js";
import { PretrainClipConfig } from "./pretrain-clip-config.js";
import { pretrainingSteps } from "./pretrain-loop.js";

/** Image-text contrastive training (Radford et al. 2021) over the captions of each batch. Yields a step event each step. */
export async function* pretrainClip(
  settings: PretrainClipSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(PretrainClipConfig, settings);
  using context = openContext({ kind: "pretrain clip", schema: PretrainClipConfig }, config, options);
  const { run, device } = context;
  const artwork = await readArtwork(config.data, {
    leaveOut: config.leaveOut.flatMap((path) => readPrompts(path)),
  });
  const tokenizer = loadTokenizer(config.tokenizer);
  const size = artwork.pixels.shape[2] as number;
  const captions = [...new Set(artwork.captions)];
  const ids = keep(tokenizer.encodeBatch(captions));
  const rows = rowsOfHalf(artwork, config.half);
  const index = tensor(rows, { dtype: "int64" });
  const real = keep(scope(() => artwork.pixels.indexSelect(0, index).to({ device })));
  const decoded = keep(scope(() => cat(roundTrip({ vae: loadVae(config.vae, { device }) }, real))));
  const captionOf = rows.map((row) => captions.indexOf(artwork.captions[row] as string));

  const tower = {
    hidden_size: config.width,
    intermediate_size: 4 * config.width,
    num_attention_heads: config.heads,
    hidden_act: "gelu",
  } as const;
  const spm = new StepAwarePreferenceModel({
    projection_dim: config.width,
    text_config: {
      ...tower,
      num_hidden_layers: config.textLayers,
      vocab_size: tokenizer.vocabSize,
      max_position_embeddings: tokenizer.modelMaxLength,
    },
    vision_config: {
      ...tower,
      num_hidden_layers: config.visionLayers,
      image_size: size,
      patch_size: config.patch,
    },
  });
  initialize(spm, generatorAt(config.seed, "initialize"));
  initializeTimeConditioning(spm, generatorAt(config.seed, "time"));
  spm.to({ device }).requiresGrad_();
  const processor = clipProcessor(size);
  const parameters = spm.parameters();
  const optimizer = new AdamW(parameters, { lr: config.lr, betas: [0.9, 0.98], weightDecay: 0.05 });
  const state = { modules: { spm }, optimizer };

  const update = new Update({ parameters, optimizer, maxGradNorm: 1 });
  yield* pretrainingSteps(context, {
    config,
    state,
    update,
    warmup: Math.round(0.05 * config.steps),
    backward: (step) => {
      const generator = generatorAt(config.seed, "step", step);
      const drawn = randint(0, rows.length, [config.batch], { generator });
      const places = drawn.to({ device });
      const chosen = drawn.toNumbers().map((row) => captionOf[row] as number);
      const distinct = [...new Set(chosen)];
      const target = tensor(
        chosen.map((c) => distinct.indexOf(c)),
        { dtype: "int64", device },
      );
      const pixels = noGrad(() => {
        const crisp = rand([config.batch, 1, 1, 1], { generator, device }).lt(0.4);
        const x = augment(
          where(crisp, real.indexSelect(0, places), decoded.indexSelect(0, places)),
          generator,
          { colour: 0.2, scale: 0.15, shift: 0.08 },
        );
        const spread = rand([config.batch, 1, 1, 1], { generator, device }).mul(0.15);
        return trainPixels(x.add(randn(x.shape, { generator, device }).mul(spread)), processor);
      });
      const t = randint(0, 1000, [config.batch], { generator }).to({ device });
      const images = unit(spm.imageFeatures(pixels, t));
      const texts = unit(spm.textFeatures(ids.indexSelect(0, tensor(distinct, { dtype: "int64" }))));
      const logits = images.matmul(texts.transpose(0, 1)).mul(spm.logit_scale.exp()); // [batch, distinct]
      const toText = logits.logSoftmax(-1).gather(1, target.unsqueeze(1)).mean().neg();
      const toImage = contrastToImages(logits, target);
      toText.add(toImage.mul(0.5)).backward();
      const accuracy = logits.argmax(-1).eq(target).to({ dtype: "float32" }).mean().item();
      return { loss: toText.item(), accuracy };
    },
    afterUpdate: () => noGrad(() => void spm.logit_scale.clamp_(null, Math.log(config.maxScale))),
  });
  saveSpm(config.output, spm, processor, { dtype: "float16" });
  yield* run.done({ output: config.output });
}

/** Each text against all images of the batch, where several may be right. logits [images, texts], target int64 [images]. */
function contrastToImages(logits: Tensor, target: Tensor): Tensor {
  return scope(() => {
    const texts = logits.shape[1] as number;
    const right = target
      .unsqueeze(1)
      .eq(
        tensor(
          Array.from({ length: texts }, (_, i) => i),
          { dtype: "int64", device: target.device },
        ),
      )
      .to({ dtype: "float32" });
    const likelihood = logits
      .logSoftmax(0)
      .mul(right)
      .sum([0])
      .div(right.sum([0]));
    return likelihood.mean().neg();
  });
}
