// Names of flow models' LoRAs by what writes and reads them, as their sources spell them: sd-scripts (networks/lora_sd3.py, lora_flux.py),
// ComfyUI (comfy/lora.py, `model_lora_keys_unet`), OneTrainer and SimpleTuner by ComfyUI's reading of them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Generator, type Linear, openSafetensors, randn, scope, writeSafetensors } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { tinyFlowPipeline } from "../families/tiny-pipeline.fixture.js";
import { readLora, writeLora } from "./lora-file.js";

const folder = mkdtempSync(join(tmpdir(), "flow-lora-"));
afterAll(() => rmSync(folder, { recursive: true }));

const MODELS = { sd3: tinyFlowPipeline("sd3").models, flux: tinyFlowPipeline("flux").models };
type Flow = keyof typeof MODELS;

/** An adapter of rank 2 on the transformer's layers of these names. */
function adapterOn(family: Flow, layers: readonly string[]) {
  const generator = new Generator(5);
  const modules = MODELS[family].transformer?.modules() ?? new Map();
  return new Map(
    layers.map((layer) => {
      const [outputs, inputs] = (modules.get(layer) as Linear).weight.shape as [number, number];
      return [
        `transformer.${layer}`,
        { down: randn([2, inputs], { generator }), up: randn([outputs, 2], { generator }), alpha: 2 },
      ];
    }),
  );
}

const IN_KOHYA: Record<Flow, Record<string, string>> = {
  sd3: {
    "transformer_blocks.0.attn.to_out.0": "lora_unet_joint_blocks_0_x_block_attn_proj",
    "transformer_blocks.0.attn.to_add_out": "lora_unet_joint_blocks_0_context_block_attn_proj",
    "transformer_blocks.0.attn.to_q": "lora_unet_joint_blocks_0_x_block_attn_qkv",
    "transformer_blocks.0.attn.add_v_proj": "lora_unet_joint_blocks_0_context_block_attn_qkv",
    "transformer_blocks.0.ff.net.0.proj": "lora_unet_joint_blocks_0_x_block_mlp_fc1",
    "transformer_blocks.0.ff_context.net.2": "lora_unet_joint_blocks_0_context_block_mlp_fc2",
    "transformer_blocks.0.norm1.linear": "lora_unet_joint_blocks_0_x_block_adaLN_modulation_1",
  },
  flux: {
    "transformer_blocks.0.attn.to_out.0": "lora_unet_double_blocks_0_img_attn_proj",
    "transformer_blocks.0.attn.add_q_proj": "lora_unet_double_blocks_0_txt_attn_qkv",
    "transformer_blocks.0.ff.net.2": "lora_unet_double_blocks_0_img_mlp_2",
    "transformer_blocks.0.norm1_context.linear": "lora_unet_double_blocks_0_txt_mod_lin",
    "single_transformer_blocks.0.attn.to_k": "lora_unet_single_blocks_0_linear1",
    "single_transformer_blocks.0.proj_out": "lora_unet_single_blocks_0_linear2",
    "single_transformer_blocks.0.norm.linear": "lora_unet_single_blocks_0_modulation_lin",
  },
};

describe.each(["sd3", "flux"] as const)("a LoRA of %s", (family) => {
  test("has sd-scripts' names, which ComfyUI forms from its own model's", () => {
    for (const [layer, name] of Object.entries(IN_KOHYA[family])) {
      const path = join(folder, `${family}-kohya.safetensors`);
      scope(() => writeLora(path, adapterOn(family, [layer]), MODELS[family], { layout: "kohya" }));
      using file = openSafetensors(path);
      expect(file.keys().sort(), layer).toEqual(
        ["alpha", "lora_down.weight", "lora_up.weight"].map((piece) => `${name}.${piece}`),
      );
    }
  });

  const layers = Object.keys(IN_KOHYA[family]).filter((layer) => /attn|ff/.test(layer));
  const dotted = (prefix: string) => (layer: string) => prefix + layer;
  const flat = (prefix: string) => (layer: string) => prefix + layer.replaceAll(".", "_");
  test.each([
    ["diffusers", dotted("transformer."), ["lora_A", "lora_B"]],
    ["PEFT", dotted("base_model.model."), ["lora_A", "lora_B"]],
    ["OneTrainer", flat("lora_transformer_"), ["lora_down", "lora_up"]],
    ["SimpleTuner's LyCORIS", flat("lycoris_"), ["lora_down", "lora_up"]],
  ] as const)("is read in the names of %s", (_, name, [down, up]) => {
    scope(() => {
      const adapter = adapterOn(family, layers);
      const path = join(folder, `${family}-read.safetensors`);
      const tensors = Object.fromEntries(
        [...adapter].flatMap(([layer, weights]) => {
          const inFile = name(layer.slice("transformer.".length));
          return [
            [`${inFile}.${down}.weight`, weights.down],
            [`${inFile}.${up}.weight`, weights.up],
          ];
        }),
      );
      writeSafetensors(path, tensors);
      const { adapter: found } = readLora(path, MODELS[family]);
      expect([...found.keys()].sort()).toEqual([...adapter.keys()].sort());
      for (const [layer, { up }] of adapter)
        expect(found.get(layer)?.up.toNumbers(), layer).toEqual(up.toNumbers());
    });
  });
});

test("a LoRA whose sizes tell nothing is refused by what its metadata says", () => {
  const path = join(folder, "said.safetensors");
  scope(() => {
    const adapter = adapterOn("sd3", ["transformer_blocks.0.attn.to_q"]);
    writeLora(path, adapter, MODELS.sd3, {
      layout: "diffusers",
      metadata: { "modelspec.architecture": "stable-diffusion-3-5-medium/lora" },
    });
  });
  expect(readLora(path, MODELS.sd3).adapter.size).toBe(1);
  expect(() => readLora(path, MODELS.flux)).toThrow(
    "is a LoRA for Stable Diffusion 3 (its metadata says stable-diffusion-3-5-medium/lora); this one is FLUX.1.",
  );
});
