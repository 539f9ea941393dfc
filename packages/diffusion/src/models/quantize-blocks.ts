import { Conv2d, Linear, type Module, quantizeInt8 } from "@spo/torch";

/** Of a layer inside a model's repeated blocks: `down_blocks.0.attentions.1.proj_in`, `transformer_blocks.3.ff.net.2`. */
const IN_BLOCKS = /\.\d+\./;

/**
 * Rounds the weights of a denoiser's blocks to 8 bits, one scale a row, in place: linear maps and convolutions.
 *
 * They no longer learn, and no adapter can be merged into them. The layers at both ends and the embeddings of times and texts, a hundredth
 * of the whole, stay as they are.
 */
export function quantizeBlocks(model: Module): void {
  const layers = [...model.modules()].filter(([name]) => IN_BLOCKS.test(name)).map(([, part]) => part);
  quantizeInt8(layers.filter((part) => part instanceof Linear || part instanceof Conv2d));
}
