// Trains a small text encoder and UNet on captioned artwork, from scratch: the base model of the embedded default.

import { type Conditions, loadTokenizer, loadVae, selectRows } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import {
  AdamW,
  cat,
  constantDecay,
  Ema,
  generatorAt,
  keep,
  noGrad,
  rand,
  randint,
  randn,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { openContext, type RecipeEvent, type RecipeOptions, saveInHalf, Update } from "spo/recipes";
import { readArtwork } from "../data/artwork.js";
import type { PretrainTextToImageSettings } from "../settings.gen.js";
import type { BaseModel } from "./base-model.js";
import { pretrainingSteps } from "./pretrain-loop.js";
import { PretrainTextToImageConfig } from "./pretrain-text-to-image-config.js";
import { encodeMeans } from "./pretrain-vae.js";
import { stableDiffusion3Base } from "./stable-diffusion-3-base.js";
import { stableDiffusionBase } from "./stable-diffusion-base.js";

/**
 * Denoising of latents, by text encoders and denoiser together; what is predicted and how errors are weighted is the family's.
 *
 * Yields a step event each step; resumes from the run's newest checkpoint; writes the averaged weights as a diffusers folder.
 */
export async function* pretrainTextToImage(
  settings: PretrainTextToImageSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(PretrainTextToImageConfig, settings);
  using context = openContext(
    { kind: "pretrain text-to-image", schema: PretrainTextToImageConfig },
    config,
    options,
  );
  const { run, device } = context;
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

  const base = makeBase[config.family](config, { tokenizer, vae, latentSize });
  const { networks: model, pipe, process } = base;
  if (config.init) base.copyFrom(config.init);
  model.to({ device }).requiresGrad_();
  const parameters = model.parameters();
  const optimizer = new AdamW(parameters, {
    lr: config.lr,
    betas: [0.9, 0.99],
    weightDecay: config.weightDecay,
  });
  const ema = new Ema(parameters, constantDecay(config.ema));
  const state = { modules: { model }, optimizer, ema };

  const exportModel = (): void => {
    ema.swap();
    saveInHalf(pipe, config.output); // half the size; the rounding is far below the noise of training
    ema.swap();
  };

  const update = new Update({ parameters, optimizer, maxGradNorm: 1 });
  yield* pretrainingSteps(context, {
    config,
    state,
    update,
    warmup: config.warmup,
    cosineSteps: config.cosineSteps,
    backward: (step) => {
      const generator = generatorAt(config.seed, "step", step);
      const rows = randint(0, count, [config.batch], { generator });
      const dropped = rand([config.batch], { generator }).lt(config.dropCaption).toNumbers();
      const chosen = rows
        .toNumbers()
        .map((row, i) => (dropped[i] ? captions.length - 1 : (captionOf[row] as number)));
      const x0 = latents.indexSelect(0, rows.to({ device }));
      const noise = randn(x0.shape, { generator, device });
      const timesteps = base.drawTimesteps(config.batch, generator);
      const xt = process.addNoise(x0, noise, timesteps);
      const conditions = encodeDistinct(base, ids, chosen);
      const output = pipe.denoiser.forward(xt, tensor(timesteps, { device }), conditions);
      const mse = output
        .sub(process.target(x0, noise, timesteps))
        .square()
        .mean([1, 2, 3]); // [b]
      const loss = base.weighted(mse, timesteps);
      loss.backward();
      return { loss: loss.item(), mse: mse.mean().item() };
    },
    afterUpdate: (step) => {
      ema.update(step);
      if ((step + 1) % config.exportEvery === 0) exportModel();
    },
  });
  exportModel();
  yield* run.done({ output: config.output });
}

/** Encodes each distinct caption once. chosen: rows of ids → conditions of chosen.length rows. */
function encodeDistinct(base: BaseModel, ids: Tensor, chosen: readonly number[]): Conditions {
  return scope(() => {
    const distinct = [...new Set(chosen)];
    const encoded = base.conditions(ids.indexSelect(0, tensor(distinct, { dtype: "int64" })));
    return selectRows(
      encoded,
      chosen.map((c) => distinct.indexOf(c)),
    );
  });
}

/** What each family's small model is made of. */
const makeBase = { sd15: stableDiffusionBase, sd3: stableDiffusion3Base } as const;
