import { scope, type Tensor } from "@spo/torch";

/**
 * Noise of candidates that differ only in the means of blocks: [k, B, c, h, w], independent → the same shape, each candidate's still
 * standard normal. block: side of a block in latent pixels; libtorch's error where h or w is no multiple of it.
 *
 * Within a block all have the first candidate's noise. It cannot tell a winner from a loser, and drops out of the difference of their
 * log-likelihoods: common random numbers. The mean over blocks is an orthogonal projection P, so P·ε_i + (1 − P)·ε_0 is as normal as ε_i.
 * Source: this project; common random numbers in general, Glasserman & Yao 1992.
 */
export function withCommonDetail(noise: Tensor, block: number): Tensor {
  if (block === 1) return noise;
  return scope(() => {
    const [k, prompts, channels, height, width] = noise.shape as [number, number, number, number, number];
    const blocks = [k, prompts, channels, height / block, block, width / block, block];
    const means = noise.reshape(blocks).mean([4, 6], true).expand(blocks).reshape(noise.shape);
    const detail = noise.narrow(0, 0, 1).sub(means.narrow(0, 0, 1)); // [1, B, c, h, w]
    return means.add(detail);
  });
}
