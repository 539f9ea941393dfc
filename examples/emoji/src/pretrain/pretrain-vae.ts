// Trains a small AutoencoderKL on captioned artwork: the first of the recipes that make the embedded weights.

import { AutoencoderKL, type AutoencoderKLConfig, saveModel } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import {
  AdamW,
  cat,
  constantDecay,
  Ema,
  generatorAt,
  initialize,
  keep,
  noGrad,
  randint,
  randn,
  scope,
  type Tensor,
} from "@spo/torch";
import { openContext, type RecipeEvent, type RecipeOptions, Update } from "spo/recipes";
import { readArtwork } from "../data/artwork.js";
import type { PretrainVaeSettings } from "../settings.gen.js";
import { pretrainingSteps } from "./pretrain-loop.js";
import { PretrainVaeConfig } from "./pretrain-vae-config.js";

/** Config of a VAE without attention that shrinks by 2^(channels − 1). */
function smallVaeConfig({
  channels,
  groups,
  size,
}: {
  channels: readonly number[];
  groups: number;
  size: number;
}): AutoencoderKLConfig {
  return {
    in_channels: 3,
    out_channels: 3,
    latent_channels: 4,
    block_out_channels: [...channels],
    layers_per_block: 1,
    norm_num_groups: groups,
    sample_size: size,
    down_block_types: channels.map(() => "DownEncoderBlock2D"),
    up_block_types: channels.map(() => "UpDecoderBlock2D"),
    mid_block_add_attention: false,
    scaling_factor: 1,
    use_quant_conv: true,
    use_post_quant_conv: true,
    act_fn: "silu",
  };
}

/**
 * L1 + 2·MSE + edges + KL on random crops; then the latents are whitened per channel, so that `scaling_factor` is 1.
 *
 * Yields a step event each step. Resumes from the run's newest checkpoint.
 */
export async function* pretrainVae(
  settings: PretrainVaeSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(PretrainVaeConfig, settings);
  using context = openContext({ kind: "pretrain vae", schema: PretrainVaeConfig }, config, options);
  const { run, device } = context;
  const artwork = await readArtwork(config.data);
  const pixels = keep(artwork.pixels.to({ device }));
  const size = pixels.shape[2] as number;
  const vae = new AutoencoderKL(smallVaeConfig({ ...config, size }));
  initialize(vae, generatorAt(config.seed, "initialize"));
  vae.to({ device }).requiresGrad_();
  const parameters = vae.parameters();
  const optimizer = new AdamW(parameters, { lr: config.lr, betas: [0.9, 0.99], weightDecay: 1e-3 });
  const ema = new Ema(parameters, constantDecay(config.ema));
  const state = { modules: { vae }, optimizer, ema };

  const update = new Update({ parameters, optimizer, maxGradNorm: 1 });
  yield* pretrainingSteps(context, {
    config,
    state,
    update,
    warmup: config.warmup,
    backward: (step) => {
      const generator = generatorAt(config.seed, "step", step);
      const x = randomCrops(pixels, config, generator);
      const { mean, logvar } = vae.encode(x);
      const noise = randn(mean.shape, { generator, device });
      const y = vae.decode(mean.add(logvar.mul(0.5).exp().mul(noise)));
      const error = y.sub(x);
      const l1 = error.abs().mean();
      const kl = mean.square().add(logvar.exp()).sub(1).sub(logvar).mean().mul(0.5);
      const loss = l1
        .add(error.square().mean().mul(2))
        .add(edges(error).mul(config.edgeWeight))
        .add(kl.mul(config.klWeight));
      loss.backward();
      return { loss: loss.item(), l1: l1.item(), kl: kl.item() };
    },
    afterUpdate: (step) => ema.update(step),
  });

  ema.swap();
  noGrad(() => whiten(vae, pixels));
  saveModel(config.output, vae);
  yield* run.done({ output: config.output, psnr: noGrad(() => psnr(vae, pixels)) });
}

/** Random squares of random rows, mirrored half of the time. [n, 3, h, w] → [batch, 3, crop, crop]. */
function randomCrops(
  pixels: Tensor,
  { batch, crop }: { batch: number; crop: number },
  generator: ReturnType<typeof generatorAt>,
): Tensor {
  return scope(() => {
    const [count, , height, width] = pixels.shape as [number, number, number, number];
    const draw = (high: number): number[] => randint(0, high, [batch], { generator }).toNumbers();
    const rows = draw(count);
    const tops = draw(height - crop + 1);
    const lefts = draw(width - crop + 1);
    const mirrored = draw(2);
    return cat(
      rows.map((row, i) => {
        const square = pixels
          .narrow(0, row, 1)
          .narrow(2, tops[i] as number, crop)
          .narrow(3, lefts[i] as number, crop);
        return mirrored[i] ? square.flip([3]) : square;
      }),
    );
  });
}

/** L1 of horizontal and vertical differences: errors at edges count more than errors of brightness. */
function edges(error: Tensor): Tensor {
  return scope(() => {
    const difference = (dim: number): Tensor => {
      const length = (error.shape[dim] as number) - 1;
      return error
        .narrow(dim, 1, length)
        .sub(error.narrow(dim, 0, length))
        .abs()
        .mean();
    };
    return difference(2).add(difference(3));
  });
}

/** Posterior means of all images, in chunks. [n, 3, h, w] → [n, 4, h', w']. */
export function encodeMeans(vae: AutoencoderKL, pixels: Tensor, chunk = 64): Tensor {
  return scope(() => cat(pixels.split(chunk).map((part) => vae.encode(part).mean)));
}

/** Folds mean 0 and variance 1 of each latent channel into `quant_conv` and `post_quant_conv`. */
function whiten(vae: AutoencoderKL, pixels: Tensor): void {
  scope(() => {
    const latents = encodeMeans(vae, pixels);
    const mean = latents.mean([0, 2, 3]); // [c]
    const std = latents.std([0, 2, 3]);
    const channels = mean.numel;
    const { quant_conv: quant, post_quant_conv: postQuant } = vae;
    if (!quant?.bias || !postQuant?.bias) throw new Error("whitening needs quant_conv and post_quant_conv");
    const column = std.reshape([channels, 1, 1, 1]);
    quant.weight.narrow(0, 0, channels).div_(column);
    quant.bias.narrow(0, 0, channels).sub_(mean).div_(std);
    quant.bias.narrow(0, channels, channels).sub_(std.log().mul(2)); // the log-variances shrink alike
    postQuant.bias.add_(postQuant.weight.flatten(1).matmul(mean));
    postQuant.weight.mul_(std.reshape([1, channels, 1, 1]));
  });
}

/** Peak signal-to-noise ratio of the reconstruction of all images, dB, for pixels in [−1, 1]. */
function psnr(vae: AutoencoderKL, pixels: Tensor): number {
  return scope(() => {
    const errors = pixels
      .split(64)
      .map((part) =>
        scope(() => vae.decode(vae.encode(part).mean).clamp(-1, 1).sub(part).square().mean([1, 2, 3])),
      );
    return 10 * Math.log10(4 / cat(errors).mean().item());
  });
}
