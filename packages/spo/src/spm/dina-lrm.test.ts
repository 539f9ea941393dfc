// A diffusion-native latent reward model: its numbers, and what of its folders is refused.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addLora, loadTextToImage, SD3Backbone } from "@spo/diffusion";
import {
  Generator,
  initialize,
  liveTensors,
  noGrad,
  scope,
  type Tensor,
  tensor,
  UserError,
  zeros,
} from "@spo/torch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeTinyWorld } from "../recipes/tiny-world.fixture.js";
import { saveTinyDina, saveTinySd3 } from "../tiny-sd3.fixture.js";
import { DinaLrm } from "./dina-lrm.js";
import { openPreferenceModel } from "./open-preference-model.js";

const TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"];

/** Value j of each tensor is a sine of j and of its place among the sorted names; norms are about 1. */
function fill(tensors: ReadonlyMap<string, Tensor>): void {
  for (const [i, name] of [...tensors.keys()].sort().entries()) {
    const value = tensors.get(name) as Tensor;
    const wave = Array.from({ length: value.numel }, (_, j) => Math.sin(0.37 * j + 1.3 * i));
    const scaled = wave.map((x) => (name.includes("norm_") ? 1 + 0.2 * x : 0.4 * x));
    scope(() => value.copy_(tensor(scaled, { dtype: "float32", shape: [...value.shape] })));
  }
}

test("scores are those of the formulas, with the tokens of the blocks that the config names", () =>
  noGrad(() => {
    const backbone = new SD3Backbone(
      {
        ...{ sample_size: 8, patch_size: 2, in_channels: 4, out_channels: 4, num_layers: 4 },
        ...{ attention_head_dim: 8, num_attention_heads: 2, joint_attention_dim: 12, qk_norm: "rms_norm" },
        ...{ caption_projection_dim: 16, pooled_projection_dim: 10, pos_embed_max_size: 6 },
        dual_attention_layers: [0, 1],
      },
      3,
    );
    const taps = { num_transformer_layers: 3, visual_head_idx: [0, 1, 3], text_head_idx: [2, 3] };
    const model = new DinaLrm(
      { model: { ...taps, use_lora: true, reward_head: { num_queries: 3, num_attn_heads: 2 } } },
      backbone,
    );
    initialize(model, new Generator(1));
    fill(backbone.namedParameters());
    const lora = addLora(backbone, { rank: 2, alpha: 4, targets: TARGETS }, new Generator(1));
    const named = lora.namedParameters();
    const peft = (name: string): string =>
      name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.");
    fill(new Map([...named].map(([name, value]) => [peft(name), value])));
    fill(model.reward_head.namedParameters());
    const told = { context: zeros([2, 5, 12]), pooled: zeros([2, 10]) };
    const latents = zeros([2, 4, 8, 4]);
    fill(new Map(Object.entries({ ...told, latents })));
    const before = liveTensors();
    const scores = scope(() => model.forward(latents, tensor([812.5, 12]), told).toNumbers());
    expect(liveTensors()).toBe(before);
    // tests/python/latent_reward_flow.py formula
    expect(scores[0]).toBeCloseTo(-3.3034746646881104, 4);
    expect(scores[1]).toBeCloseTo(-3.457491874694824, 4);
  }));

describe("what is refused", () => {
  let folder: string;
  let model: string;
  let sd15: { model: string; lrm: string };
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "spo-dina-"));
    sd15 = await makeTinyWorld(join(folder, "world"));
    model = join(folder, "sd3");
    saveTinySd3(model);
    saveTinyDina(join(folder, "dina"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** The message for a copy of the folder that was changed. */
  function refusal(change: (copy: string) => void, of = model): string {
    const copy = join(folder, "changed");
    rmSync(copy, { recursive: true, force: true });
    cpSync(join(folder, "dina"), copy, { recursive: true });
    change(copy);
    try {
      openPreferenceModel(copy, loadTextToImage(of));
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
      return (error as Error).message;
    }
    throw new Error("the folder was accepted");
  }
  const configured =
    (change: (model: Record<string, unknown>) => void) =>
    (copy: string): void => {
      const path = join(copy, "config.json");
      const config = JSON.parse(readFileSync(path, "utf8"));
      change(config.model);
      writeFileSync(path, JSON.stringify(config));
    };

  test("a folder without its head or its adapter", () => {
    for (const part of ["rm_head.pt", "backbone_lora"])
      expect(refusal((copy) => rmSync(join(copy, "checkpoint", part), { recursive: true }))).toMatch(
        new RegExp(`changed has no checkpoint/${part}`),
      );
  });

  test("another family's model, and another family's latent reward model", () => {
    expect(refusal(() => {}, sd15.model)).toMatch(
      /latents of Stable Diffusion 3\.5.*this model is Stable Diffusion 1\.5/,
    );
    expect(() => openPreferenceModel(sd15.lrm, loadTextToImage(model))).toThrow(
      /Stable Diffusion 3 mixes images and noise in another way/,
    );
  });

  test("a config that asks for other things than its files have, or for what is not there", () => {
    expect(refusal(configured((c) => Object.assign(c, { visual_head_idx: [1] })))).toMatch(
      /rm_head\.pt do not fit[\s\S]*layer_adapters_visual\.1/,
    );
    expect(refusal(configured((c) => Object.assign(c, { num_transformer_layers: 2 })))).toMatch(
      /num_transformer_layers is 2.* has 2 blocks/,
    );
    expect(refusal(configured((c) => Object.assign(c, { text_head_idx: [2] })))).toMatch(
      /beyond num_transformer_layers/,
    );
    expect(refusal(configured((c) => Object.assign(c, { use_logistic: true })))).toMatch(/use_logistic/);
  });
});
