import { Generator, initialize, liveTensors, noGrad, randn, scope, type Tensor, tensor } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { addLora } from "../lora/lora.js";
import { refusal } from "../refusal.fixture.js";
import { type FluxTransformer2DConfig, FluxTransformer2DModel } from "./flux-transformer-2d.js";
import { packLatents, unpackLatents } from "./patches.js";
import { type SD3Transformer2DConfig, SD3Transformer2DModel } from "./sd3-transformer-2d.js";
import { FLUX, SD3 } from "./tiny-models.fixture.js";

const draw = (shape: readonly number[], seed = 1): Tensor => randn(shape, { generator: new Generator(seed) });
const farthest = (a: Tensor, b: Tensor): number => noGrad(() => a.sub(b).abs().max().item());

const MODELS = { SD3: new SD3Transformer2DModel(SD3), FLUX: new FluxTransformer2DModel(FLUX) };
for (const model of Object.values(MODELS)) initialize(model, new Generator(1));
afterAll(() => {
  for (const model of Object.values(MODELS)) model.dispose();
});

describe.each(Object.entries(MODELS))("the transformer of %s", (_, model) => {
  const options = { guidanceScale: 3.5 };
  const inputs = (rows: number) => ({
    sample: draw([rows, 4, 8, 4]),
    context: draw([rows, 5, 12], 2),
    pooled: draw([rows, 10], 3),
  });

  test("leaves exactly its output alive", () => {
    scope(() => {
      const { sample, ...conditions } = inputs(2);
      const before = liveTensors();
      expect(model.forward(sample, 301.5, conditions, options).shape).toEqual([2, 4, 8, 4]);
      expect(liveTensors() - before).toBe(1);
    });
  });

  test("gives for a shared text, for one time and for the doubled batch what it gives row by row", () => {
    scope(() => {
      const { sample, context: texts, pooled } = inputs(2);
      const rows = tensor([1, 0, 0, 1], { dtype: "int64" });
      const conditions = { context: { texts, rows }, pooled: pooled.indexSelect(0, rows) };
      const both = model.forward(sample, 301.5, conditions, options);
      for (const [place, row] of rows.toNumbers().entries()) {
        const alone = model.forward(
          sample.narrow(0, place % 2, 1),
          tensor([301.5]),
          { context: texts.narrow(0, row, 1), pooled: pooled.narrow(0, row, 1) },
          options,
        );
        expect(farthest(both.narrow(0, place, 1), alone)).toBeLessThan(1e-5);
      }
    });
  });

  test("has with checkpointing the same gradients, bit for bit, of adapters on all projections of its attentions", () => {
    const targets = [
      "to_q",
      "to_k",
      "to_v",
      "to_out.0",
      "add_q_proj",
      "add_k_proj",
      "add_v_proj",
      "to_add_out",
    ];
    const lora = addLora(model, { rank: 2, targets }, new Generator(3));
    for (const layer of lora.layers.values())
      layer.lora_B.detach().normal_(0, 0.1, { generator: new Generator(4) });
    const gradients = (): (number[] | undefined)[] =>
      scope(() => {
        const { sample, ...conditions } = inputs(2);
        model
          .forward(sample, tensor([301.5, 20]), conditions, options)
          .square()
          .mean()
          .backward();
        const found = lora.parameters().map((parameter) => parameter.grad?.toNumbers());
        for (const parameter of lora.parameters()) parameter.grad = undefined;
        return found;
      });
    const plain = gradients();
    const idle = [...lora.namedParameters().keys()].filter((_, i) => !plain[i]?.some((value) => value !== 0));
    // SD3's last block reads the text alone: what its text asks for goes nowhere.
    expect(idle.every((name) => model === MODELS.SD3 && name.includes("1.attn.add_q_proj"))).toBe(true);
    model.gradientCheckpointing = true;
    expect(gradients()).toEqual(plain);
    model.gradientCheckpointing = false;
    lora.remove();
    model.requiresGrad_(false);
  });

  test("refuses latents that its patches do not divide", () => {
    expect(refusal(() => model.latentShape([8, 5]))).toContain("8 × 5");
    scope(() => {
      const { sample, ...conditions } = inputs(2);
      expect(refusal(() => model.forward(sample.narrow(3, 0, 3), 1, conditions, options))).toContain("8 × 3");
    });
  });

  test("is told of each row what it says", () => {
    scope(() => {
      const shapes = model.conditionShapes(5);
      const conditions = {
        context: draw([1, ...(shapes.context ?? [])]),
        pooled: draw([1, ...(shapes.pooled ?? [])]),
      };
      const sample = draw([1, ...model.latentShape([4, 6])]);
      expect(model.forward(sample, 1, conditions, options).shape).toEqual(sample.shape);
    });
  });
});

test("FLUX without guidance embedding takes no notice of the scale, and one with it must be told", () => {
  scope(() => {
    using model = new FluxTransformer2DModel({ ...FLUX, guidance_embeds: false });
    initialize(model, new Generator(1));
    const conditions = { context: draw([1, 5, 12]), pooled: draw([1, 10]) };
    const sample = draw([1, 4, 4, 4]);
    const run = (guidanceScale?: number): Tensor => model.forward(sample, 10, conditions, { guidanceScale });
    expect(farthest(run(3), run())).toBe(0);
    expect(() => MODELS.FLUX.forward(sample, 10, conditions)).toThrow(/guidance scale/);
  });
});

test("a new table of places is diffusers' of sines and cosines, and a size beyond it is refused", () => {
  scope(() => {
    using model = new SD3Transformer2DModel(SD3);
    initialize(model, new Generator(1));
    // get_2d_sincos_pos_embed(8, 6, base_size=4), row 1, column 4
    const expected = [
      0.4572726, 0.0266635, -0.8893266, 0.9996445, 0.6183698, 0.0066666, 0.7858872, 0.9999778,
    ];
    const place = model.pos_embed.pos_embed.select(1, 1 * 6 + 4);
    expect(farthest(place, tensor(expected, { shape: [1, 8] }))).toBeLessThan(1e-6);
    expect(refusal(() => model.pos_embed.positions(7, 2))).toContain("7 × 2");
  });
});

test("packing puts the four pixels of a patch behind one another by channel, and unpacking takes it back", () => {
  scope(() => {
    const latents = tensor(
      Array.from({ length: 16 }, (_, i) => i),
      { shape: [1, 2, 2, 4] },
    );
    const packed = packLatents(latents, 2);
    expect(packed.toNumbers()).toEqual([0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15]);
    expect(unpackLatents(packed, [1, 2], 2).toNumbers()).toEqual(latents.toNumbers());
  });
});

describe("a config value that is not supported is refused by its name:", () => {
  test.each([
    { qk_norm: "layer_norm" },
    { caption_projection_dim: 9 },
    { dual_attention_layers: [2] },
    { attention_head_dim: 3, caption_projection_dim: 6 },
    { a_field_of_tomorrow: 3 },
  ])("SD3 %o", (wrong) => {
    const config = { ...SD3, ...wrong } as SD3Transformer2DConfig;
    expect(refusal(() => new SD3Transformer2DModel(config))).toContain(Object.keys(wrong)[0]);
  });

  test.each([
    { axes_dims_rope: [2, 2, 2] },
    { axes_dims_rope: [4, 4] },
    { patch_size: 2 },
    { in_channels: 18 },
    { a_field_of_tomorrow: 3 },
  ])("FLUX %o", (wrong) => {
    const config = { ...FLUX, ...wrong } as FluxTransformer2DConfig;
    expect(refusal(() => new FluxTransformer2DModel(config))).toContain(Object.keys(wrong)[0]);
  });
});
