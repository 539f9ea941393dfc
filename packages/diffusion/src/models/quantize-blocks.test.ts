import { Generator, initialize, keep, noGrad, randn, scope, type Tensor } from "@spo/torch";
import { expect, test } from "vitest";
import { addLora } from "../lora/lora.js";
import type { DenoiserInputs, DenoiserModel } from "./denoiser-model.js";
import { FluxTransformer2DModel } from "./flux-transformer-2d.js";
import { quantizeBlocks } from "./quantize-blocks.js";
import { SD3Transformer2DModel } from "./sd3-transformer-2d.js";
import { FLUX, SD3, UNETS } from "./tiny-models.fixture.js";
import { UNet2DConditionModel } from "./unet-2d-condition.js";

const MODELS: Record<string, { make: () => DenoiserModel; stays: string; shrinks: string }> = {
  "the UNet": {
    make: () => new UNet2DConditionModel(UNETS.sd15),
    stays: "conv_in.weight time_embedding.linear_1.weight conv_out.weight",
    shrinks:
      "down_blocks.0.resnets.0.conv1.weight up_blocks.0.upsamplers.0.conv.weight mid_block.attentions.0.proj_in.weight",
  },
  "SD3's transformer": {
    make: () => new SD3Transformer2DModel(SD3),
    stays: "pos_embed.proj.weight context_embedder.weight proj_out.weight",
    shrinks: "transformer_blocks.0.attn.to_q.weight transformer_blocks.1.ff.net.2.weight",
  },
  "FLUX's transformer": {
    make: () => new FluxTransformer2DModel(FLUX),
    stays: "x_embedder.weight proj_out.weight",
    shrinks: "transformer_blocks.0.attn.to_q.weight single_transformer_blocks.0.proj_mlp.weight",
  },
};

const draw = (shape: readonly number[], seed: number): Tensor =>
  randn(shape, { generator: new Generator(seed) });

/** The output for one latent, and the gradients of an adapter. */
function solve(model: DenoiserModel, parameters: readonly Tensor[]): number[][] {
  return scope(() => {
    const conditions: DenoiserInputs = { context: draw([1, 5, 12], 2), pooled: draw([1, 10], 3) };
    const y = model.forward(draw([1, 4, 8, 8], 1), 301, conditions, { guidanceScale: 3.5 });
    y.square().mean().backward();
    const found = [y, ...parameters.map(({ grad }) => grad as Tensor)].map((x) => x.toNumbers());
    for (const parameter of parameters) parameter.grad = undefined;
    return found;
  });
}

/** ‖found − truth‖/‖truth‖ of all numbers. */
function relativeError(found: readonly number[][], truth: readonly number[][]): number {
  const norm = (values: readonly number[]): number => Math.hypot(...values);
  const flat = truth.flat();
  return norm(found.flat().map((value, i) => value - (flat[i] as number))) / norm(flat);
}

test.each(Object.entries(MODELS))(
  "the blocks of %s keep their output and an adapter's gradients within a few percent",
  (_, { make, stays, shrinks }) => {
    const model = make();
    initialize(model, new Generator(1));
    const lora = () => {
      const adapter = addLora(model, { rank: 2 }, new Generator(3));
      for (const layer of adapter.layers.values())
        noGrad(() => layer.lora_B.normal_(0, 0.1, { generator: new Generator(4) }));
      return adapter;
    };
    const before = lora();
    const [output, ...gradients] = solve(model, before.parameters()) as [number[], ...number[][]];
    before.remove();
    quantizeBlocks(model);
    const parameters = model.namedParameters();
    const dtypesOf = (names: string) => names.split(" ").map((name) => parameters.get(name)?.dtype);
    expect(new Set(dtypesOf(stays))).toEqual(new Set(["float32"]));
    expect(new Set(dtypesOf(shrinks))).toEqual(new Set(["int8"]));
    expect(model.dtype).toBe("float32");

    const adapter = lora();
    const plain = solve(model, adapter.parameters());
    const [found, ...rest] = plain as [number[], ...number[][]];
    expect(relativeError([found], [output])).toBeLessThan(0.02);
    expect(relativeError(rest, gradients)).toBeLessThan(0.03);
    expect(found).not.toEqual(output);
    model.gradientCheckpointing = true;
    expect(solve(model, adapter.parameters())).toEqual(plain);
    expect(() => adapter.merge()).toThrow(/8 bits/);
    expect(() => adapter.fuse()).toThrow(/8 bits/);
    keep(model.parameters());
    model.dispose();
  },
);
