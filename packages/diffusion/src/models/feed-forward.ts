import { geglu, gelu, Linear, Module, scope, type Tensor } from "@spo/torch";

/** Half of a linear map gates the other half by GELU. [..., in] → [..., out]. Source: Shazeer 2020, "GLU variants". */
class GEGLU extends Module {
  readonly proj: Linear;

  constructor(inFeatures: number, outFeatures: number) {
    super();
    this.proj = new Linear(inFeatures, 2 * outFeatures);
  }

  forward(x: Tensor): Tensor {
    return scope(() => geglu(this.proj.forward(x)));
  }
}

/** A linear map, then GELU by its tanh approximation. [..., in] → [..., out]. Source: diffusers GELU, `approximate: "tanh"`. */
class GELU extends Module {
  readonly proj: Linear;

  constructor(inFeatures: number, outFeatures: number) {
    super();
    this.proj = new Linear(inFeatures, outFeatures);
  }

  forward(x: Tensor): Tensor {
    return scope(() => gelu(this.proj.forward(x), { approximate: "tanh" }));
  }
}

/** The activation, four times as wide, then back to the width. `net.1` is the reference's dropout, which holds no weights. */
export class FeedForward extends Module {
  readonly net: [GEGLU | GELU, undefined, Linear];

  constructor(width: number, activation: "geglu" | "gelu-approximate") {
    super();
    const Activation = activation === "geglu" ? GEGLU : GELU;
    this.net = [new Activation(width, 4 * width), undefined, new Linear(4 * width, width)];
  }

  forward(x: Tensor): Tensor {
    return scope(() => this.net[2].forward(this.net[0].forward(x)));
  }
}
