import { addcmul, Linear, layerNorm, Module, scope, type Tensor } from "@spo/torch";

/**
 * What a layer norm takes from time and text: shifts, scales and gates of each feature.
 *
 * temb [b, width], after its SiLU → `count` tensors [b, 1, width], in the order of the file.
 * Source: diffusers AdaLayerNormZero (6), SD35AdaLayerNormZeroX (9), AdaLayerNormZeroSingle (3), AdaLayerNormContinuous (2);
 * Peebles & Xie 2023, section 3.2.
 */
export class AdaLayerNorm extends Module {
  readonly linear: Linear;
  readonly #count: number;

  constructor(width: number, count: number) {
    super();
    this.linear = new Linear(width, count * width);
    this.#count = count;
  }

  forward(temb: Tensor): Tensor[] {
    return scope(() => this.linear.forward(temb).unsqueeze(1).chunk(this.#count, -1));
  }
}

/** LN(x)·(1 + scale) + shift, by a norm without weights. x [b, n, width]; shift, scale [b, 1, width]. */
export function modulate(x: Tensor, shift: Tensor, scale: Tensor): Tensor {
  return scope(() =>
    addcmul(shift, layerNorm(x, [x.shape.at(-1) as number], null, null, 1e-6), scale.add(1)),
  );
}
