import {
  Generator,
  initialize,
  liveTensors,
  type Module,
  noGrad,
  randn,
  scope,
  Tensor,
  tensor,
  zeros,
} from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { addLora } from "../lora/lora.js";
import { Transformer2DModel } from "./attention.js";
import { AutoencoderKL } from "./autoencoder-kl.js";
import { CLIPEncoderLayer } from "./clip-layers.js";
import { CLIPTextModel, CLIPTextModelWithProjection, idsTensor } from "./clip-text.js";
import { Downsample2D, ResnetBlock2D, Upsample2D } from "./resnet.js";
import { TEXTS, type TinyFamily, tinyModels, UNETS, VAE } from "./tiny-models.fixture.js";
import { DownBlock2D, MidBlock2D, UpBlock2D } from "./unet-2d-blocks.js";
import { UNet2DConditionModel } from "./unet-2d-condition.js";

const FAMILIES: readonly TinyFamily[] = ["sd15", "sdxl"];
const MODELS = { sd15: tinyModels("sd15"), sdxl: tinyModels("sdxl") };
afterAll(() => {
  for (const models of Object.values(MODELS)) for (const model of Object.values(models)) model?.dispose();
});

const draw = (shape: readonly number[], seed = 1): Tensor => randn(shape, { generator: new Generator(seed) });
const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();
const bits = (x: Tensor): unknown => x.detach().toTypedArray();

/** Inputs of a tiny UNet for n rows. */
function inputsOf(family: TinyFamily, n = 2) {
  return {
    sample: draw([n, 4, 8, 8]),
    context: draw([n, 5, UNETS[family].cross_attention_dim as number], 2),
    added: family === "sdxl" ? { textEmbeds: draw([n, 10], 3), timeIds: zeros([n, 6]).add(16) } : undefined,
  };
}

/** The tensors in a value. */
function tensorsIn(value: unknown, found = new Set<Tensor>()): Set<Tensor> {
  if (value instanceof Tensor) found.add(value);
  else if (typeof value === "object" && value !== null)
    for (const each of Object.values(value)) tensorsIn(each, found);
  return found;
}

describe("a forward leaves exactly its outputs alive:", () => {
  const level = {
    layers: 2,
    timeDim: 16,
    groups: 4,
    eps: 1e-5,
    transformer: { heads: 2, depths: [2, 2], contextDim: 12, linear: true },
  };
  const [x, context] = [draw([2, 8, 6, 6]), draw([2, 5, 12])];
  const inputs = { temb: draw([2, 16]), context };
  const ids = idsTensor([
    [48, 5, 6, 49, 49],
    [48, 7, 49, 49, 49],
  ]);
  const [image, latents] = [draw([1, 3, 8, 8]), draw([2, 4, 8, 8])];
  const made = <M extends Module>(module: M): M => {
    initialize(module, new Generator(1));
    return module;
  };
  const resnet = made(new ResnetBlock2D(8, 12, level));
  const down = made(new Downsample2D(8, 0));
  const up = made(new Upsample2D(8));
  const transformer = made(
    new Transformer2DModel(8, 2, { layers: 1, contextDim: 12, groups: 4, linear: false }),
  );
  const downBlock = made(new DownBlock2D(8, 12, { ...level, down: true }));
  const midBlock = made(new MidBlock2D(8, level));
  const upBlock = made(new UpBlock2D(8, 12, [8, 8], { ...level, up: true }));
  const clipLayer = made(new CLIPEncoderLayer(12, 2, 24, { activation: "quick_gelu", eps: 1e-5 }));
  const text = made(new CLIPTextModel(TEXTS.sd15));
  const text2 = made(new CLIPTextModelWithProjection(TEXTS.sdxl2));
  const vae = made(new AutoencoderKL(VAE));
  const unet = made(new UNet2DConditionModel(UNETS.sd15));

  const forwards: [string, () => unknown][] = [
    ["ResnetBlock2D", () => resnet.forward(x, inputs.temb)],
    ["Downsample2D", () => down.forward(x)],
    ["Upsample2D", () => up.forward(x, [11, 12])],
    ["Transformer2DModel", () => transformer.forward(x, context)],
    ["DownBlock2D", () => downBlock.forward(x, inputs)],
    ["MidBlock2D", () => midBlock.forward(x, inputs)],
    ["UpBlock2D", () => upBlock.forward(x, [x, x], inputs)],
    ["CLIPEncoderLayer", () => clipLayer.forward(context, { causal: true })],
    ["CLIPTextModel", () => text.forward(ids)],
    ["CLIPTextModelWithProjection", () => text2.forward(ids)],
    ["AutoencoderKL.encode", () => vae.encode(image)],
    ["AutoencoderKL.decode", () => vae.decode(latents)],
    ["UNet2DConditionModel", () => unet.forward(latents, 10, { context })],
  ];

  test.each(forwards)("%s", (_, forward) => {
    scope(() => {
      const before = liveTensors();
      const output = forward();
      expect(liveTensors() - before).toBe(tensorsIn(output).size);
    });
  });
});

test("a new model has shapes and no values: its parameters are on the meta device", () => {
  for (const model of [
    new UNet2DConditionModel(UNETS.sdxl),
    new AutoencoderKL(VAE),
    new CLIPTextModel(TEXTS.sd15),
  ])
    expect(new Set(model.parameters().map(({ device }) => device))).toEqual(new Set(["meta"]));
});

describe.each(FAMILIES)("the %s UNet", (family) => {
  const { unet } = MODELS[family];

  test("gives for a shared context what it gives for the repeated one", () => {
    scope(() => {
      const { sample, added } = inputsOf(family, 4);
      const { context: texts } = inputsOf(family, 2);
      const rows = tensor([1, 0, 0, 1], { dtype: "int64" });
      const shared = unet.forward(sample, 301, { context: { texts, rows }, ...added });
      const repeated = unet.forward(sample, 301, { context: texts.indexSelect(0, rows), ...added });
      // Keys and values of fewer rows: the same sums, in an order that may differ.
      expect(farthest(shared, repeated)).toBeLessThan(1e-5);
    });
  });

  test("gives for one timestep what it gives for that timestep in every row", () => {
    scope(() => {
      const { sample, context, added } = inputsOf(family);
      const one = unet.forward(sample, 301, { context, ...added });
      const each = unet.forward(sample, tensor([301, 301], { dtype: "int64" }), { context, ...added });
      expect(farthest(one, each)).toBeLessThan(1e-5);
    });
  });

  test("is looked into without changing a bit", () => {
    scope(() => {
      const { sample, context, added } = inputsOf(family);
      const names: string[] = [];
      const seen = unet.forward(sample, 301, { context, ...added }, { tap: (name) => names.push(name) });
      expect(bits(seen)).toEqual(bits(unet.forward(sample, 301, { context, ...added })));
      expect(names.at(-1)).toBe("out");
      expect(names).toContain("mid");
    });
  });

  test("with a fresh adapter, one that is off, and one merged and taken out again, is the base bit for bit", () => {
    scope(() => {
      const { sample, context, added } = inputsOf(family);
      const run = (): unknown => noGrad(() => bits(unet.forward(sample, 301, { context, ...added })));
      const base = run();
      const weights = (): unknown[] => [...unet.namedParameters().values()].map(bits);
      const before = weights();
      const lora = addLora(unet, { rank: 2 }, new Generator(5));
      expect(run()).toEqual(base);
      noGrad(() => {
        for (const [name, value] of lora.namedParameters())
          if (name.endsWith("up.weight")) value.normal_(0, 0.5, { generator: new Generator(6) });
      });
      expect(run()).not.toEqual(base);
      expect(lora.without(run)).toEqual(base);
      expect(lora.merged(run)).not.toEqual(base);
      expect(lora.without(run)).toEqual(base);
      lora.remove();
      expect(run()).toEqual(base);
      expect(weights()).toEqual(before);
      unet.requiresGrad_(false);
    });
  });

  test("hands a gradient to the adapter's second matrix alone while that is zero", () => {
    scope(() => {
      const { sample, context, added } = inputsOf(family);
      const lora = addLora(unet, { rank: 2 }, new Generator(5));
      unet
        .forward(sample, 301, { context, ...added })
        .square()
        .mean()
        .backward();
      for (const [name, { grad }] of lora.namedParameters()) {
        const size = grad?.abs().max().item() ?? 0;
        if (name.endsWith("down.weight")) expect(size).toBe(0);
        else expect(size).toBeGreaterThan(0);
      }
      lora.remove();
    });
  });
});

test("SDXL's UNet without its further conditions says what is missing", () => {
  const { sample, context } = inputsOf("sdxl");
  expect(() => MODELS.sdxl.unet.forward(sample, 1, { context })).toThrow(/textEmbeds/);
});

test("latents are decoded alike in chunks of any size", () => {
  scope(() => {
    const { vae } = MODELS.sd15;
    const latents = draw([5, 4, 4, 4]);
    const whole = vae.decodeLatents(latents, { chunk: 5 });
    for (const chunk of [1, 2, 8])
      expect(farthest(vae.decodeLatents(latents, { chunk }), whole)).toBeLessThan(1e-5);
    const plain = vae.decode(latents.div(vae.scalingFactor));
    expect(farthest(whole, plain)).toBeLessThan(1e-5);
  });
});

test("what follows the end token cannot change the state before it, nor the pooled state", () => {
  scope(() => {
    const { text_encoder } = MODELS.sd15;
    const end = 49; // the largest id
    const first = text_encoder.forward(idsTensor([[48, 5, 6, end, end, end]]));
    const second = text_encoder.forward(idsTensor([[48, 5, 6, end, 7, 8]]));
    expect(farthest(first.pooled, second.pooled)).toBeLessThan(1e-6);
    const head = (x: Tensor): Tensor => x.narrow(1, 0, 4);
    expect(farthest(head(first.lastHiddenState), head(second.lastHiddenState))).toBeLessThan(1e-6);
  });
});

test("the pooled state is at the largest id for the historical eos_token_id 2, at the first end token else", () => {
  scope(() => {
    const states = (eos_token_id: number) => {
      const model = new CLIPTextModel({ ...TEXTS.sd15, eos_token_id });
      for (const [name, value] of MODELS.sd15.text_encoder.namedParameters())
        model.namedParameters().get(name)?.assign(value);
      return model.forward(idsTensor([[48, 5, 30, 49, 30, 49]]));
    };
    const at = ({ lastHiddenState }: { lastHiddenState: Tensor }, place: number): Tensor =>
      lastHiddenState.select(1, place);
    const [historical, thirty] = [states(2), states(30)];
    expect(farthest(historical.pooled, at(historical, 3))).toBe(0);
    expect(farthest(thirty.pooled, at(thirty, 2))).toBe(0);
  });
});
