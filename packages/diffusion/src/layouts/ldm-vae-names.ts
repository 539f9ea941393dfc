// The VAE's modules under the names of the original latent-diffusion code.
import { AutoencoderKLConfig } from "../models/autoencoder-kl.js";

const RESNET: readonly [string, string][] = [
  ["norm1", "norm1"],
  ["conv1", "conv1"],
  ["norm2", "norm2"],
  ["conv2", "conv2"],
  ["conv_shortcut", "nin_shortcut"],
];
const ATTENTION: readonly [string, string][] = [
  ["group_norm", "norm"],
  ["to_q", "q"],
  ["to_k", "k"],
  ["to_v", "v"],
  ["to_out.0", "proj_out"],
];

/** Attention's names that files have beside the original's: diffusers' of today and from before 0.13. */
const OTHER_ATTENTION: readonly [RegExp, string][] = [
  [/\.(to_q|query)\./, ".q."],
  [/\.(to_k|key)\./, ".k."],
  [/\.(to_v|value)\./, ".v."],
  [/\.(to_out\.0|proj_attn)\./, ".proj_out."],
  [/\.group_norm\./, ".norm."],
];

/** A name of the VAE in one file, its attention's part in the original's spelling. */
export const originalVaeName = (name: string): string =>
  name.includes(".attn_1.")
    ? OTHER_ATTENTION.reduce((text, [other, original]) => text.replace(other, original), name)
    : name;

/** Prefixes of module names, [ours, original]. The original counts the decoder's levels from the finest. */
export function ldmVaeNames(config: AutoencoderKLConfig): [string, string][] {
  const sizes = AutoencoderKLConfig.parse(config);
  const levels = sizes.block_out_channels.length;
  const names: [string, string][] = [
    ["quant_conv", "quant_conv"],
    ["post_quant_conv", "post_quant_conv"],
  ];
  const each = (ours: string, original: string, layers: readonly [string, string][]): void => {
    for (const [layer, originalLayer] of layers)
      names.push([`${ours}.${layer}`, `${original}.${originalLayer}`]);
  };
  for (const half of ["encoder", "decoder"]) {
    names.push(
      [`${half}.conv_in`, `${half}.conv_in`],
      [`${half}.conv_norm_out`, `${half}.norm_out`],
      [`${half}.conv_out`, `${half}.conv_out`],
    );
    each(`${half}.mid_block.resnets.0`, `${half}.mid.block_1`, RESNET);
    each(`${half}.mid_block.attentions.0`, `${half}.mid.attn_1`, ATTENTION);
    each(`${half}.mid_block.resnets.1`, `${half}.mid.block_2`, RESNET);
  }
  for (let level = 0; level < levels; level++) {
    const up = levels - 1 - level;
    for (let layer = 0; layer < sizes.layers_per_block; layer++)
      each(`encoder.down_blocks.${level}.resnets.${layer}`, `encoder.down.${level}.block.${layer}`, RESNET);
    for (let layer = 0; layer <= sizes.layers_per_block; layer++)
      each(`decoder.up_blocks.${level}.resnets.${layer}`, `decoder.up.${up}.block.${layer}`, RESNET);
    names.push(
      [`encoder.down_blocks.${level}.downsamplers.0.conv`, `encoder.down.${level}.downsample.conv`],
      [`decoder.up_blocks.${level}.upsamplers.0.conv`, `decoder.up.${up}.upsample.conv`],
    );
  }
  return names;
}
