import { describe, expect, test } from "vitest";
import { parseJson } from "../config.js";
import { refusal } from "../refusal.fixture.js";
import { AutoencoderKL, type AutoencoderKLConfig } from "./autoencoder-kl.js";
import { type CLIPTextConfig, CLIPTextModel } from "./clip-text.js";
import { TEXTS, UNETS, VAE } from "./tiny-models.fixture.js";
import { type UNet2DConditionConfig, UNet2DConditionModel } from "./unet-2d-condition.js";

describe("a config value that is not supported is refused by its name:", () => {
  test.each([
    { act_fn: "gelu" },
    { mid_block_type: "UNetMidBlock2DSimpleCrossAttn" },
    { down_block_types: ["CrossAttnDownBlock2D", "AttnDownBlock2D"] },
    { down_block_types: ["CrossAttnDownBlock2D"] },
    { up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"] },
    { layers_per_block: [1, 2, 3] },
    { attention_head_dim: 3 },
    { norm_num_groups: 5 },
    { resnet_time_scale_shift: "scale_shift" },
    { time_embedding_type: "fourier" },
    { class_embed_type: "timestep" },
    { encoder_hid_dim: 64 },
    { only_cross_attention: true },
    { addition_embed_type: "image" },
    { reverse_transformer_layers_per_block: [1, 2, 3] },
    { reverse_transformer_layers_per_block: [1, [2, 2]] }, // three layers attend on the way up
    { transformer_layers_per_block: [[1], 1] }, // two layers attend on the way down
    { transformer_layers_per_block: [0, 1] },
    { time_cond_proj_dim: 5 },
    { num_class_embeds: 1000 },
    { num_attention_heads: [2, 4] },
    { a_field_of_tomorrow: 3 },
    { block_out_channels: [] },
  ])("UNet %o", (wrong) => {
    const config = { ...UNETS.sd15, ...wrong } as UNet2DConditionConfig;
    expect(refusal(() => new UNet2DConditionModel(config))).toContain(Object.keys(wrong)[0]);
  });

  test("a UNet whose way down counts each layer and that does not say how the way up does", () => {
    const config = { ...UNETS.sd15, transformer_layers_per_block: [[1, 2], 1] };
    expect(refusal(() => new UNet2DConditionModel(config))).toContain("reverse_transformer_layers_per_block");
  });

  test("SDXL's UNet without the sizes of its added conditions", () => {
    const { addition_time_embed_dim: _, ...config } = UNETS.sdxl;
    expect(refusal(() => new UNet2DConditionModel(config))).toContain("addition_time_embed_dim");
  });

  test.each([
    { act_fn: "relu" },
    { down_block_types: ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"] },
    { up_block_types: ["UpDecoderBlock2D"] },
    { norm_num_groups: 3 },
    { shift_factor: "0.1" },
    { latents_mean: [0, 0, 0], latents_std: [1, 1, 1, 1] },
    { latents_mean: null, latents_std: [1, 1, 1, 1] },
    { block_types_of_tomorrow: ["X"] },
  ])("VAE %o", (wrong) => {
    const config = { ...VAE, ...wrong } as unknown as AutoencoderKLConfig;
    expect(refusal(() => new AutoencoderKL(config))).toContain(Object.keys(wrong)[0]);
  });

  test.each([{ hidden_act: "relu" }, { hidden_size: 0 }, { num_hidden_layers: "2" }])(
    "text encoder %o",
    (wrong) => {
      const config = { ...TEXTS.sd15, ...wrong } as unknown as CLIPTextConfig;
      expect(refusal(() => new CLIPTextModel(config))).toContain(Object.keys(wrong)[0]);
    },
  );
});

test.each([
  { sample_size: null },
  { a_field_of_tomorrow: null },
  { a_field_of_tomorrow: false },
  { _name_or_path: "somewhere", _commit_hash: "abc" },
  { decay: 0.9999, optimization_step: 100, use_ema_warmup: true }, // an average of weights
  { reverse_transformer_layers_per_block: null, time_cond_proj_dim: null, norm_eps: 1e-6 },
  { reverse_transformer_layers_per_block: [7, 2] },
])("a UNet's config may say %o", (more) => {
  const config = { ...UNETS.sd15, ...more } as UNet2DConditionConfig;
  expect(() => new UNet2DConditionModel(config)).not.toThrow();
});

test("all faults of a config are listed at once", () => {
  const message = refusal(
    () => new UNet2DConditionModel({ ...UNETS.sd15, act_fn: "gelu", dropout: 0.5 } as UNet2DConditionConfig),
  );
  expect(message).toContain("act_fn");
  expect(message).toContain("dropout");
});

test("a UNet has a middle block with attention, without, or none, as its config says", () => {
  const keysOf = (mid_block_type: UNet2DConditionConfig["mid_block_type"]): string[] =>
    [...new UNet2DConditionModel({ ...UNETS.sd15, mid_block_type }).namedParameters().keys()].filter((key) =>
      key.startsWith("mid_block."),
    );
  expect(keysOf("UNetMidBlock2DCrossAttn").some((key) => key.includes("attentions.0"))).toBe(true);
  expect(keysOf("UNetMidBlock2D").length).toBeGreaterThan(0);
  expect(keysOf("UNetMidBlock2D").every((key) => key.startsWith("mid_block.resnets.0."))).toBe(true);
  expect(keysOf(null)).toEqual([]);
});

test("JSON is read as Python writes it, with its words for what is not finite", () => {
  expect(parseJson('{"a": -Infinity, "b": [Infinity, NaN, 1], "c": "NaN, -Infinity \\" NaN"}')).toEqual({
    a: Number.NEGATIVE_INFINITY,
    b: [Number.POSITIVE_INFINITY, null, 1],
    c: 'NaN, -Infinity " NaN',
  });
  expect(() => parseJson('{"a": Nope}')).toThrow(SyntaxError);
});
