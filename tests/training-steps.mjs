// @ts-check
// Trains a block of convolution, norm and attention, and tells what is alive after 100 steps and after each 200 of the next thousand, as
// JSON. Run with --expose-gc: what JavaScript itself has not collected yet is no leak.
import {
  AdamW,
  Conv2d,
  clipGradNorm,
  Generator,
  GroupNorm,
  initialize,
  Linear,
  Module,
  randn,
  scaledDotProductAttention,
  scope,
  silu,
} from "@spo/torch";
import { alive } from "./alive.mjs";

class Block extends Module {
  conv = new Conv2d(4, 16, 3, { padding: 1 });
  norm = new GroupNorm(4, 16);
  to_qkv = new Linear(16, 48);
  to_out = new Linear(16, 4);

  /** x [b, 4, h, w] → [b, h·w, 4]. @param {import("@spo/torch").Tensor} x */
  forward(x) {
    return scope(() => {
      const h = silu(this.norm.forward(this.conv.forward(x)))
        .flatten(2)
        .transpose(1, 2); // [b, h·w, 16]
      const [q, k, v] = this.to_qkv.forward(h).chunk(3, -1);
      if (!q || !k || !v) throw new Error("three parts were asked for");
      return this.to_out.forward(scaledDotProductAttention(q, k, v).add(h));
    });
  }
}

const block = new Block();
initialize(block, new Generator(0));
block.requiresGrad_();
const optimizer = new AdamW(block.parameters(), { lr: 1e-3 });
const generator = new Generator(1);
let loss = 0;

function step() {
  scope(() => {
    const x = randn([2, 4, 8, 8], { generator });
    const target = x.flatten(2).transpose(1, 2);
    const error = block.forward(x).sub(target).square().mean();
    error.backward();
    clipGradNorm(block.parameters(), 1);
    optimizer.step();
    optimizer.zeroGrad();
    loss = error.item();
  });
}

/** @param {number} count */
function after(count) {
  for (let i = 0; i < count; i++) step();
  return { ...alive(), loss };
}

console.log(JSON.stringify([100, 200, 200, 200, 200, 200].map(after)));
