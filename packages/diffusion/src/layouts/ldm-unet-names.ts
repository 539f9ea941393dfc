// The UNet's modules under the names of the original latent-diffusion code: in single-file checkpoints and in kohya's LoRA for SDXL.
import { UNet2DConditionConfig } from "../models/unet-2d-condition.js";

/** A residual block's layers, [ours, original]. */
const RESNET: readonly [string, string][] = [
  ["norm1", "in_layers.0"],
  ["conv1", "in_layers.2"],
  ["time_emb_proj", "emb_layers.1"],
  ["norm2", "out_layers.0"],
  ["conv2", "out_layers.3"],
  ["conv_shortcut", "skip_connection"],
];

/**
 * Prefixes of module names, [ours, original]: `down_blocks.0.attentions.0` and `input_blocks.1.1`. What follows a prefix is the same in
 * both.
 *
 * The original counts blocks through all levels: one for each layer, and one for each down-sampling. An up-sampling has no block of its
 * own: it comes last in the block of the layer before, at 2 behind an attention and at 1 without.
 */
export function ldmUnetNames(config: UNet2DConditionConfig): [string, string][] {
  const sizes = UNet2DConditionConfig.parse(config);
  const levels = sizes.block_out_channels.length;
  const layersAt = (level: number): number =>
    typeof sizes.layers_per_block === "number"
      ? sizes.layers_per_block
      : (sizes.layers_per_block[level] as number);
  const names: [string, string][] = [
    ["conv_in", "input_blocks.0.0"],
    ["time_embedding.cond_proj", "time_embed.cond_proj"],
    ["time_embedding.linear_1", "time_embed.0"],
    ["time_embedding.linear_2", "time_embed.2"],
    ["add_embedding.linear_1", "label_emb.0.0"],
    ["add_embedding.linear_2", "label_emb.0.2"],
    ["conv_norm_out", "out.0"],
    ["conv_out", "out.2"],
  ];
  const resnet = (ours: string, original: string): void => {
    for (const [layer, originalLayer] of RESNET)
      names.push([`${ours}.${layer}`, `${original}.${originalLayer}`]);
  };

  let block = 1;
  for (let level = 0; level < levels; level++) {
    const attends = sizes.down_block_types[level] === "CrossAttnDownBlock2D";
    for (let layer = 0; layer < layersAt(level); layer++, block++) {
      resnet(`down_blocks.${level}.resnets.${layer}`, `input_blocks.${block}.0`);
      if (attends) names.push([`down_blocks.${level}.attentions.${layer}`, `input_blocks.${block}.1`]);
    }
    if (level < levels - 1)
      names.push([`down_blocks.${level}.downsamplers.0.conv`, `input_blocks.${block++}.0.op`]);
  }

  resnet("mid_block.resnets.0", "middle_block.0");
  names.push(["mid_block.attentions.0", "middle_block.1"]);
  resnet("mid_block.resnets.1", "middle_block.2");

  block = 0;
  for (let i = 0; i < levels; i++) {
    const attends = sizes.up_block_types[i] === "CrossAttnUpBlock2D";
    for (let layer = 0; layer <= layersAt(levels - 1 - i); layer++, block++) {
      resnet(`up_blocks.${i}.resnets.${layer}`, `output_blocks.${block}.0`);
      if (attends) names.push([`up_blocks.${i}.attentions.${layer}`, `output_blocks.${block}.1`]);
    }
    if (i < levels - 1)
      names.push([`up_blocks.${i}.upsamplers.0.conv`, `output_blocks.${block - 1}.${attends ? 2 : 1}.conv`]);
  }
  return names;
}

/** Changes a name's prefix by a table; undefined where no prefix fits. Prefixes end at a dot or at the end of the name. */
export function renamed(name: string, prefixes: ReadonlyMap<string, string>): string | undefined {
  for (let end = name.length; end > 0; end = name.lastIndexOf(".", end - 1)) {
    const prefix = prefixes.get(name.slice(0, end));
    if (prefix !== undefined) return prefix + name.slice(end);
  }
  return undefined;
}
