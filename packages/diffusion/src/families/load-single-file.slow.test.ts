import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Generator,
  liveTensors,
  type Module,
  onWarning,
  openSafetensors,
  scope,
  type Tensor,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { ldmUnet, ldmVae, openClipText } from "../layouts/ldm-models.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { addLora } from "../lora/lora.js";
import { CLIPTextModel, CLIPTextModelWithProjection } from "../models/clip-text.js";
import { TEXTS, type TinyFamily, tinyModels, UNETS, VAE } from "../models/tiny-models.fixture.js";
import { UNet2DConditionModel } from "../models/unet-2d-condition.js";
import { refusal } from "../refusal.fixture.js";
import type { PipelineConfigs } from "./family.js";
import { loadSingleFile, saveSingleFile } from "./load-single-file.js";
import { stableDiffusion } from "./stable-diffusion.js";
import { stableDiffusionXL } from "./stable-diffusion-xl.js";

const folder = mkdtempSync(join(tmpdir(), "single-file-"));
afterAll(() => rmSync(folder, { recursive: true }));

const CONFIGS: Record<TinyFamily, PipelineConfigs> = {
  sd15: { unet: UNETS.sd15, vae: VAE, text_encoder: TEXTS.sd15, scheduler: {} },
  sdxl: { unet: UNETS.sdxl, vae: VAE, text_encoder: TEXTS.sdxl, text_encoder_2: TEXTS.sdxl2, scheduler: {} },
};

const values = (model: Module): unknown =>
  Object.fromEntries([...model.namedParameters()].map(([name, x]) => [name, [x.shape, x.toTypedArray()]]));

/** The tensors of a file with some replaced, added or (undefined) left out. */
function changed(path: string, changes: Record<string, Tensor | undefined>): string {
  using file = openSafetensors(path);
  const tensors = file.tensors();
  for (const [name, value] of Object.entries(changes)) {
    if (value) tensors.set(name, value);
    else tensors.delete(name);
  }
  const target = join(folder, "changed.safetensors");
  writeSafetensors(target, tensors);
  return target;
}

describe.each(["sd15", "sdxl"] as const)("a checkpoint of %s in one file", (family) => {
  const models: PipelineModels = tinyModels(family);
  const path = join(folder, `${family}.safetensors`);
  saveSingleFile(path, models);

  test("written and read gives every weight of every model, bit for bit", () => {
    const read = loadSingleFile(path, { configs: CONFIGS[family] });
    expect(read.family.name).toBe(family);
    for (const part of Object.keys(models)) {
      expect(values(read.models[part]!)).toEqual(values(models[part]!));
      read.models[part]!.dispose();
    }
  });

  test("leaves only the models' parameters alive", () => {
    const before = liveTensors();
    const read = Object.values(loadSingleFile(path, { configs: CONFIGS[family] }).models) as Module[];
    expect(liveTensors() - before).toBe(read.reduce((sum, model) => sum + model.parameters().length, 0));
    for (const model of read) model.dispose();
    expect(liveTensors()).toBe(before);
  });

  test("may hold the training code's buffers and counters, which are passed by", () => {
    const buffers = {
      betas: zeros([4]),
      "model_ema.decay": zeros([]),
      "model_ema.diffusion_modelinput_blocks00weight": zeros([2]),
      "denoiser.sigmas": zeros([4]),
      "first_stage_model.loss.logvar": zeros([]),
      [family === "sd15"
        ? "cond_stage_model.transformer.text_model.embeddings.position_ids"
        : "conditioner.embedders.1.model.logit_scale"]: zeros([]),
    };
    const read = loadSingleFile(changed(path, buffers), { configs: CONFIGS[family] });
    expect(values(read.models.unet!)).toEqual(values(models.unet!));
  });

  test("with an unknown entry and without its VAE is refused with both", () => {
    using file = openSafetensors(path);
    const vae = file.keys().filter((name) => name.startsWith("first_stage_model."));
    const text = refusal(() =>
      loadSingleFile(
        changed(path, {
          ...Object.fromEntries(vae.map((name) => [name, undefined])),
          "control_model.weight": zeros([1]),
        }),
        { configs: CONFIGS[family] },
      ),
    );
    expect(text).toMatch(/control_model\.weight +belongs to no model/);
    expect(text).toMatch(/first_stage_model\.… +missing: the file has no vae/);
  });

  test("with entries of other tools is read, with one warning that names them as the file does", () => {
    const text = family === "sd15" ? "cond_stage_model.transformer." : "conditioner.embedders.0.transformer.";
    const others = [
      `${text}text_projection.weight`,
      "embedding_manager.string_to_param_dict.*",
      "first_stage_model.decoder.extra.weight",
      "model.diffusion_model.input_blocks.0.0.extra",
    ];
    const heard: string[] = [];
    const stop = onWarning((message) => heard.push(message));
    const target = changed(path, Object.fromEntries(others.map((name) => [name, zeros([3])])));
    const read = loadSingleFile(target, { configs: CONFIGS[family] });
    stop();
    for (const part of Object.keys(models)) expect(values(read.models[part]!)).toEqual(values(models[part]!));
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatch(/changed\.safetensors: 4 entries are not used and passed over: /);
    for (const name of others) expect(heard[0]).toContain(name);
  });

  const spellings: readonly (readonly string[])[] = [
    ["to_q", "to_k", "to_v", "to_out.0", "group_norm"],
    ["query", "key", "value", "proj_attn", "norm"],
    ["q", "k", "v", "proj_out", "norm"],
  ];
  for (const names of spellings) {
    for (const form of ["1×1 convolutions", "linear maps"]) {
      test(`may name its VAE's attention ${names.join(", ")}, as ${form}`, () => {
        scope(() => {
          using file = openSafetensors(path);
          const renamed = [...file.tensors()].map(([name, x]): [string, Tensor] => {
            const [, before, own, kind] = /^(first_stage_model\..*attn_1\.)(\w+)\.(\w+)$/.exec(name) ?? [];
            if (!own) return [name, x];
            const at = ["q", "k", "v", "proj_out", "norm"].indexOf(own);
            return [
              `${before}${names[at]}.${kind}`,
              form === "linear maps" && x.ndim === 4 ? x.flatten(1) : x,
            ];
          });
          const target = join(folder, "attention.safetensors");
          writeSafetensors(target, new Map(renamed));
          const read = loadSingleFile(target, { configs: CONFIGS[family] }).models.vae!;
          expect(values(read)).toEqual(values(models.vae!));
          read.dispose();
        });
      });
    }
  }

  test("marks v-prediction and zero terminal signal, written and read", () => {
    for (const [prediction_type, rescale_betas_zero_snr] of [
      ["v_prediction", true],
      ["v_prediction", false],
      ["epsilon", true],
      ["epsilon", false],
    ] as const) {
      const target = join(folder, "marked.safetensors");
      saveSingleFile(target, models, { scheduler: { prediction_type, rescale_betas_zero_snr } });
      using file = openSafetensors(target);
      expect([file.has("v_pred"), file.has("ztsnr")]).toEqual([
        prediction_type === "v_prediction",
        rescale_betas_zero_snr,
      ]);
      const read = loadSingleFile(target, { configs: CONFIGS[family] });
      expect(read.scheduler.prediction_type ?? "epsilon").toBe(prediction_type);
      expect(read.scheduler.rescale_betas_zero_snr ?? false).toBe(rescale_betas_zero_snr);
      for (const model of Object.values(read.models)) model.dispose();
    }
  });

  test("keeps zero terminal signal where the configs' scheduler is PNDM, which has none: Euler takes its place", () => {
    const target = join(folder, "marked.safetensors");
    saveSingleFile(target, models, { scheduler: { rescale_betas_zero_snr: true } });
    const configs = { ...CONFIGS[family], scheduler: { _class_name: "PNDMScheduler" } } as const;
    const read = loadSingleFile(target, { configs });
    expect(read.scheduler).toMatchObject({
      _class_name: "EulerDiscreteScheduler",
      rescale_betas_zero_snr: true,
    });
    for (const model of Object.values(read.models)) model.dispose();
  });

  test.each(["edm_mean", "edm_vpred.sigma_max"])(
    "with the mark %s of other noise levels is refused",
    (mark) => {
      expect(
        refusal(() => loadSingleFile(changed(path, { [mark]: zeros([1]) }), { configs: CONFIGS[family] })),
      ).toContain(mark);
    },
  );

  test("with a missing weight is refused with the weight's name", () => {
    const name = "model.diffusion_model.middle_block.1.proj_in.weight";
    expect(
      refusal(() => loadSingleFile(changed(path, { [name]: undefined }), { configs: CONFIGS[family] })),
    ).toMatch(/mid_block\.attentions\.0\.proj_in\.weight +missing in the file/);
  });

  test("with a fused adapter has the adapter's sum in its weights", () => {
    scope(() => {
      const changedModels = tinyModels(family);
      const lora = addLora(changedModels.unet, { rank: 2 }, new Generator(1));
      for (const { lora_B } of lora.layers.values()) {
        lora_B.requiresGrad = false;
        lora_B.fill_(0.5);
      }
      const name = [...lora.layers.keys()][0] as string;
      const expected = lora.merged(() => lora.layers.get(name)!.weight.clone());
      lora.fuse();
      const target = join(folder, "fused.safetensors");
      saveSingleFile(target, changedModels as PipelineModels);
      const read = loadSingleFile(target, { configs: CONFIGS[family] }).models.unet!;
      const weight = read.namedParameters().get(`${name}.weight`)!;
      expect(weight.toTypedArray()).toEqual(expected.toTypedArray());
    });
  });

  test("without configs is refused with the sizes that are not the published ones'", () => {
    expect(refusal(() => loadSingleFile(path))).toMatch(
      /an architecture of width 8, 4 input channels, text width/,
    );
  });
});

test("configs are read from a pipeline's folder", () => {
  const path = join(folder, "sd15.safetensors");
  const pipeline = join(folder, "pipeline");
  for (const part of ["unet", "vae", "text_encoder"] as const) {
    mkdirSync(join(pipeline, part), { recursive: true });
    writeFileSync(join(pipeline, part, "config.json"), JSON.stringify(CONFIGS.sd15[part]));
  }
  expect(existsSync(join(pipeline, "scheduler"))).toBe(false);
  const { scheduler } = loadSingleFile(path, { configs: pipeline });
  expect(scheduler).toEqual(stableDiffusion.published.scheduler);
});

test.each([
  ["Stable Diffusion 2", { first: [320, 4, 3, 3], context: 1024, conditions: 0 }],
  ["an inpainting model", { first: [320, 9, 3, 3], context: 768, conditions: 0 }],
  ["the SDXL refiner", { first: [384, 4, 3, 3], context: 1280, conditions: 2560 }],
] as const)("%s is refused by its name", (name, { first, context, conditions }) => {
  const path = join(folder, "other.safetensors");
  writeSafetensors(path, {
    "model.diffusion_model.input_blocks.0.0.weight": zeros([...first]),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": zeros([1, context]),
    ...(conditions > 0 && { "model.diffusion_model.label_emb.0.0.weight": zeros([1, conditions]) }),
  });
  expect(refusal(() => loadSingleFile(path))).toContain(name);
});

test("a v-prediction checkpoint that says so by an entry gets a scheduler for v", () => {
  const path = changed(join(folder, "sdxl.safetensors"), { v_pred: zeros([1]) });
  expect(loadSingleFile(path, { configs: CONFIGS.sdxl }).scheduler.prediction_type).toBe("v_prediction");
});

test("a model that predicts x̂0 is not written as one file, which would pass for one that predicts noise", () => {
  const { models } = loadSingleFile(join(folder, "sdxl.safetensors"), { configs: CONFIGS.sdxl });
  const write = () =>
    saveSingleFile(join(folder, "x0.safetensors"), models, { scheduler: { prediction_type: "sample" } });
  expect(refusal(write)).toContain('prediction_type "sample"');
});

/** Names and shapes without memory. */
const shapes = (weights: ReadonlyMap<string, Tensor>): Record<string, string> =>
  Object.fromEntries([...weights].map(([name, x]) => [name, x.shape.join()]));

// Places in the published files, from the repositories' own listings: v1-5-pruned-emaonly and sd_xl_base_1.0.
test("the published models' configs have the published files' names and shapes", () => {
  scope(() => {
    const unet15 = shapes(
      ldmUnet(stableDiffusion.published.unet).toOriginal(
        new UNet2DConditionModel(stableDiffusion.published.unet).namedParameters(),
      ),
    );
    expect(Object.keys(unet15)).toHaveLength(686);
    expect(unet15).toMatchObject({
      "input_blocks.0.0.weight": "320,4,3,3",
      "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": "320,768",
      "input_blocks.9.0.op.weight": "1280,1280,3,3",
      "middle_block.1.proj_in.weight": "1280,1280,1,1",
      "output_blocks.2.1.conv.weight": "1280,1280,3,3",
      "output_blocks.5.2.conv.weight": "1280,1280,3,3",
      "output_blocks.11.1.proj_out.weight": "320,320,1,1",
      "out.2.weight": "4,320,3,3",
    });
    const unetXl = shapes(
      ldmUnet(stableDiffusionXL.published.unet).toOriginal(
        new UNet2DConditionModel(stableDiffusionXL.published.unet).namedParameters(),
      ),
    );
    expect(Object.keys(unetXl)).toHaveLength(1680);
    expect(unetXl).toMatchObject({
      "input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight": "640,2048",
      "input_blocks.8.1.transformer_blocks.9.ff.net.0.proj.weight": "10240,1280",
      "label_emb.0.0.weight": "1280,2816",
      "output_blocks.2.2.conv.weight": "1280,1280,3,3",
      "output_blocks.8.0.skip_connection.weight": "320,640,1,1",
    });
    const vae = ldmVae(VAE);
    expect(Object.keys(shapes(vae.toOriginal(tinyModels("sd15").vae.namedParameters())))).toContain(
      "decoder.up.1.upsample.conv.weight",
    );
    const second = new CLIPTextModelWithProjection(stableDiffusionXL.published.text_encoder_2!);
    const text = shapes(
      openClipText(stableDiffusionXL.published.text_encoder_2!).toOriginal(second.namedParameters()),
    );
    expect(text).toMatchObject({
      "transformer.resblocks.31.attn.in_proj_weight": "3840,1280",
      "transformer.resblocks.31.mlp.c_fc.weight": "5120,1280",
      text_projection: "1280,1280",
      positional_embedding: "77,1280",
    });
    expect(new CLIPTextModel(stableDiffusion.published.text_encoder).parameters()).toHaveLength(196);
  });
});
