import {
  cat,
  conv2d,
  Generator,
  initialize,
  noGrad,
  randn,
  scope,
  type Tensor,
  tensor,
  upsampleNearest2d,
} from "@spo/torch";
import { expect, test } from "vitest";
import { addLora } from "../lora/lora.js";
import { Upsample2D } from "./resnet.js";
import { UNet2DConditionModel } from "./unet-2d-condition.js";

const generator = new Generator(0);
const apart = (a: Tensor, b: Tensor): number => scope(() => a.sub(b).abs().max().item());

const sizes = {
  sample_size: 8,
  block_out_channels: [8, 16],
  layers_per_block: 1,
  cross_attention_dim: 12,
  attention_head_dim: 2,
  norm_num_groups: 4,
};
const kinds = {
  "attention in the first block": ["CrossAttnDownBlock2D", "DownBlock2D"],
  "attention in the middle only": ["DownBlock2D", "DownBlock2D"],
};

for (const [name, down] of Object.entries(kinds)) {
  test(`latents given once for two texts each give what they give twice: ${name}`, () => {
    const unet = new UNet2DConditionModel({
      ...sizes,
      down_block_types: down as ("DownBlock2D" | "CrossAttnDownBlock2D")[],
      up_block_types: down.toReversed().map((kind) => kind.replace("Down", "Up")) as (
        | "UpBlock2D"
        | "CrossAttnUpBlock2D"
      )[],
    });
    initialize(unet, generator);
    noGrad(() => {
      const xt = randn([3, 4, 8, 8], { generator });
      const context = randn([6, 5, 12], { generator });
      const t = tensor([801, 401, 1], { dtype: "int64" });
      const twice = unet.forward(cat([xt, xt]), cat([t, t]), { context });
      expect(twice.square().mean().item()).toBeGreaterThan(1e-6);
      expect(apart(unet.forward(xt, t, { context }), twice)).toBeLessThan(1e-5);
      expect(
        apart(unet.forward(xt, 401, { context }), unet.forward(cat([xt, xt]), 401, { context })),
      ).toBeLessThan(1e-5);
    });
  });
}

test("a context for a number of rows that the latents do not divide is refused", () => {
  const unet = new UNet2DConditionModel({
    ...sizes,
    down_block_types: ["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D"],
  });
  initialize(unet, generator);
  const [xt, context] = [randn([2, 4, 8, 8], { generator }), randn([3, 5, 12], { generator })];
  expect(() => unet.forward(xt, 1, { context })).toThrow("3 rows");
});

test.each([
  [8, 8],
  [9, 13],
  [4, 4],
])(
  "doubling and convolving a map of %i × %i by one kernel gives equal values and gradients",
  (height, width) => {
    const layer = new Upsample2D(16);
    initialize(layer, generator);
    layer.requiresGrad_();
    const x = randn([2, 16, height, width], { generator }).contiguous({ memoryFormat: "channels_last" });
    const { weight, bias } = layer.conv;
    const gradients = (y: Tensor): Tensor => {
      y.square().mean().backward();
      const found = weight.grad as Tensor;
      weight.grad = undefined;
      return found;
    };
    const plain = conv2d(upsampleNearest2d(x, [2 * height, 2 * width]), weight, bias, 1, 1);
    const ours = layer.forward(x);
    expect(ours.shape).toEqual(plain.shape);
    expect(apart(ours, plain)).toBeLessThan(1e-5);
    expect(apart(gradients(ours), gradients(plain))).toBeLessThan(1e-5);
  },
);

test("an adapter on the convolution behind a doubling takes part, on maps of every size", () => {
  const layer = new Upsample2D(6);
  initialize(layer, generator);
  const lora = addLora(layer, { rank: 2, targets: ["conv"] }, generator);
  noGrad(() => {
    for (const { lora_B } of lora.layers.values()) lora_B.normal_(0, 1, { generator });
  });
  for (const size of [4, 8, 16]) {
    const x = randn([1, 6, size, size], { generator });
    const apartFromBase = apart(
      layer.forward(x),
      lora.without(() => layer.forward(x)),
    );
    expect(apartFromBase).toBeGreaterThan(0.1);
  }
});
