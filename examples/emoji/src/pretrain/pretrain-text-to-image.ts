// Trains a small text encoder and UNet on captioned artwork, from scratch: the base model of the embedded default.

import { join } from "node:path";
import {
  type CLIPTextConfig,
  CLIPTextModel,
  loadTextEncoder,
  loadTokenizer,
  loadUnet,
  loadVae,
  StableDiffusion,
  type UNet2DConditionConfig,
  UNet2DConditionModel,
  VpSchedule,
} from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import {
  AdamW,
  cat,
  constantDecay,
  copyWeights,
  type Device,
  Ema,
  type Generator,
  generatorAt,
  initialize,
  keep,
  Module,
  noGrad,
  rand,
  randint,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import {
  checkpointIsDue,
  learningRateAt,
  openContext,
  type RecipeEvent,
  type RecipeOptions,
  restoreTrainingState,
  saveInHalf,
  saveTrainingState,
  Update,
} from "spo/recipes";
import { readArtwork } from "../data/artwork.js";
import type { PretrainTextToImageSettings } from "../settings.gen.js";
import { PretrainTextToImageConfig } from "./pretrain-text-to-image-config.js";
import { encodeMeans } from "./pretrain-vae.js";

function unetConfig(config: PretrainTextToImageConfig, latentSize: number): UNet2DConditionConfig {
  const { channels, attention } = config;
  return {
    sample_size: latentSize,
    in_channels: 4,
    out_channels: 4,
    block_out_channels: channels,
    layers_per_block: 1,
    down_block_types: attention.map((on) => (on ? "CrossAttnDownBlock2D" : "DownBlock2D")),
    up_block_types: attention.toReversed().map((on) => (on ? "CrossAttnUpBlock2D" : "UpBlock2D")),
    cross_attention_dim: config.textWidth,
    attention_head_dim: config.heads,
    norm_num_groups: config.groups,
  };
}

/** The two networks that learn together. */
class TextToImage extends Module {
  readonly text_encoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;

  constructor(text: CLIPTextModel, unet: UNet2DConditionModel) {
    super();
    this.text_encoder = text;
    this.unet = unet;
  }
}

/**
 * Noise prediction on latents, min-SNR weighted (Hang et al. 2023, eq. 8), text encoder and UNet together.
 *
 * Yields a step event each step; resumes from the run's newest checkpoint; writes the averaged weights as a diffusers folder.
 */
export async function* pretrainTextToImage(
  settings: PretrainTextToImageSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(PretrainTextToImageConfig, settings);
  using context = openContext("pretrain text-to-image", config, options);
  const { run, signal, device } = context;
  const artwork = await readArtwork(config.data, { core: true });
  const vae = loadVae(config.vae, { device });
  const tokenizer = loadTokenizer(config.tokenizer);
  const latents = keep(
    noGrad(() =>
      scope(() => {
        const pixels = artwork.pixels.to({ device });
        return cat([encodeMeans(vae, pixels), encodeMeans(vae, pixels.flip([3]))]);
      }),
    ),
  );
  const [count, , latentSize] = latents.shape as [number, number, number, number];
  const captions = [...new Set(artwork.captions), ""];
  const ids = keep(tokenizer.encodeBatch(captions)); // [captions, L]
  const captionOf = [...artwork.captions, ...artwork.captions].map((caption) => captions.indexOf(caption));

  const textConfig: CLIPTextConfig = {
    vocab_size: tokenizer.vocabSize,
    hidden_size: config.textWidth,
    intermediate_size: 4 * config.textWidth,
    num_hidden_layers: config.textLayers,
    num_attention_heads: 4,
    max_position_embeddings: tokenizer.modelMaxLength,
    hidden_act: "quick_gelu",
    layer_norm_eps: 1e-5,
    projection_dim: config.textWidth,
    eos_token_id: 2,
  };
  const model = new TextToImage(
    new CLIPTextModel(textConfig),
    new UNet2DConditionModel(unetConfig(config, latentSize)),
  );
  initialize(model, generatorAt(config.seed, "initialize"));
  if (config.init)
    copyWeights(
      new TextToImage(
        loadTextEncoder(join(config.init, "text_encoder")),
        loadUnet(join(config.init, "unet")),
      ),
      model,
    );
  model.to({ device }).requiresGrad_();
  const parameters = model.parameters();
  const optimizer = new AdamW(parameters, {
    lr: config.lr,
    betas: [0.9, 0.99],
    weightDecay: config.weightDecay,
  });
  const ema = new Ema(parameters, constantDecay(config.ema));
  const state = { modules: { model }, optimizer, ema };
  const process = new VpSchedule();

  const exportModel = (): void => {
    ema.swap();
    const pipe = new StableDiffusion({
      tokenizer,
      textEncoder: model.text_encoder,
      unet: model.unet,
      vae,
    });
    saveInHalf(pipe, config.output); // half the size; the rounding is far below the noise of training
    ema.swap();
  };

  const update = new Update({ parameters, optimizer, maxGradNorm: 1 });
  const total = config.steps;

  for (let step = run.resume((folder) => restoreTrainingState(folder, state)); step < total; step++) {
    const metrics = scope(() => {
      const generator = generatorAt(config.seed, "step", step);
      const rows = randint(0, count, [config.batch], { generator });
      const dropped = rand([config.batch], { generator }).lt(config.dropCaption).toNumbers();
      const chosen = rows
        .toNumbers()
        .map((row, i) => (dropped[i] ? captions.length - 1 : (captionOf[row] as number)));
      const x0 = latents.indexSelect(0, rows.to({ device }));
      const noise = randn(x0.shape, { generator, device });
      const timesteps = stratifiedTimesteps(config.batch, process.trainTimesteps, generator);
      const xt = process.addNoise(x0, noise, timesteps);
      const context = encodeDistinct(model.text_encoder, ids, chosen, device);
      const eps = model.unet.forward(xt, tensor(timesteps, { device }), { context });
      const mse = eps
        .sub(process.target(x0, noise, timesteps))
        .square()
        .mean([1, 2, 3]); // [b]
      const alphaBar = tensor(
        timesteps.map((t) => process.alphaBar(t)),
        { device },
      );
      const snr = alphaBar.div(alphaBar.neg().add(1));
      const loss = mse.mul(snr.clamp(null, config.snrClip).div(snr)).mean();
      loss.backward();
      return { loss: loss.item(), mse: mse.mean().item() };
    });
    const scheduleOfRate = {
      lr: config.lr,
      warmup: config.warmup,
      decay: "cosine",
      total: config.cosineSteps ?? total,
    } as const;
    const rate = learningRateAt(step, scheduleOfRate);
    const updated = await update.apply({ loss: metrics.loss, lr: rate, where: `step ${step + 1}` });
    for (const message of updated.warnings) yield* run.warn(message);
    ema.update(step);
    yield* run.step(step + 1, total, { ...metrics, ...updated.metrics, lr: rate });
    const save = { every: config.saveEvery, total, isSound: update.isSound, isStopping: signal.aborted };
    if (checkpointIsDue(step + 1, save))
      yield* run.save(step + 1, (folder) => saveTrainingState(folder, state));
    if ((step + 1) % config.exportEvery === 0) exportModel();
    signal.throwIfAborted();
  }
  update.requireSound(`step ${total}`);
  exportModel();
  yield* run.done({ output: config.output });
}

/** One timestep from each of n equal parts of [0, count): less noise in the loss than independent draws. */
function stratifiedTimesteps(n: number, count: number, generator: Generator): number[] {
  const places = scope(() => rand([n], { generator }).toNumbers());
  return places.map((u, i) => Math.min(count - 1, Math.floor(((i + u) * count) / n)));
}

/** Encodes each distinct caption once. chosen: rows of ids → context [chosen.length, L, d]. */
function encodeDistinct(
  encoder: CLIPTextModel,
  ids: Tensor,
  chosen: readonly number[],
  device: Device,
): Tensor {
  return scope(() => {
    const distinct = [...new Set(chosen)];
    const hidden = encoder.forward(ids.indexSelect(0, tensor(distinct, { dtype: "int64" }))).lastHiddenState;
    return hidden.indexSelect(
      0,
      tensor(
        chosen.map((c) => distinct.indexOf(c)),
        { dtype: "int64", device },
      ),
    );
  });
}
