import { gelu, Linear, Module, scope, type Tensor } from "@spo/torch";

/** Half of a linear map gates the other half by GELU. [..., in] → [..., out]. Source: Shazeer 2020, "GLU variants". */
class GEGLU extends Module {
  readonly proj: Linear;

  constructor(inFeatures: number, outFeatures: number) {
    super();
    this.proj = new Linear(inFeatures, 2 * outFeatures);
  }

  forward(x: Tensor): Tensor {
    return scope(() => {
      const [value, gate] = this.proj.forward(x).chunk(2, -1) as [Tensor, Tensor];
      return value.mul(gelu(gate));
    });
  }
}

/** GEGLU, then back to the width. `net.1` is the reference's dropout, which holds no weights. */
export class FeedForward extends Module {
  readonly net: [GEGLU, undefined, Linear];

  constructor(width: number) {
    super();
    this.net = [new GEGLU(width, 4 * width), undefined, new Linear(4 * width, width)];
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.net[2].forward(this.net[0].forward(x)));
  }
}
