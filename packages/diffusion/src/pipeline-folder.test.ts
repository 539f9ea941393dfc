import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Module } from "@spo/torch";
import { afterAll, expect, test } from "vitest";
import { loadTextEncoderWithProjection, loadUnet, loadVae } from "./model-folder.js";
import { savePipelineFolder } from "./pipeline-folder.js";
import { tinyModels } from "./tiny-models.fixture.js";

const root = mkdtempSync(join(tmpdir(), "pipeline-"));
afterAll(() => rmSync(root, { recursive: true }));

const like = join(root, "like");
for (const part of ["tokenizer", "tokenizer_2", "scheduler"]) {
  mkdirSync(join(like, part), { recursive: true });
  writeFileSync(join(like, part, "file.json"), part);
}
const INDEX = {
  _class_name: "StableDiffusionXLPipeline",
  force_zeros_for_empty_prompt: true,
  safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"],
  scheduler: ["diffusers", "EulerDiscreteScheduler"],
  unet: ["diffusers", "UNet2DConditionModel"],
};
writeFileSync(join(like, "model_index.json"), JSON.stringify(INDEX));

const values = (model: Module): unknown =>
  [...model.namedParameters()].map(([name, x]) => [name, x.toTypedArray()]);

test("a saved pipeline has the models' weights, the other's tokenizers and scheduler, and an index of what is there", () => {
  const models = tinyModels("sdxl");
  const folder = join(root, "saved");
  savePipelineFolder(folder, models, { like });
  expect(values(loadUnet(join(folder, "unet")))).toEqual(values(models.unet));
  expect(values(loadVae(join(folder, "vae")))).toEqual(values(models.vae));
  expect(values(loadTextEncoderWithProjection(join(folder, "text_encoder_2")))).toEqual(
    values(models.text_encoder_2!),
  );
  expect(readFileSync(join(folder, "tokenizer_2", "file.json"), "utf8")).toBe("tokenizer_2");
  expect(JSON.parse(readFileSync(join(folder, "model_index.json"), "utf8"))).toEqual({
    ...INDEX,
    safety_checker: [null, null],
    requires_safety_checker: false,
  });
});

test("a variant's weights are halves under the variant's name", () => {
  const folder = join(root, "half");
  const models = tinyModels("sd15");
  savePipelineFolder(folder, models, { like, dtype: "float16", variant: "fp16" });
  expect(readdirSync(join(folder, "unet")).sort()).toEqual([
    "config.json",
    "diffusion_pytorch_model.fp16.safetensors",
  ]);
  models.unet.to({ dtype: "float16" });
  expect(values(loadUnet(join(folder, "unet"), { variant: "fp16", dtype: "float16" }))).toEqual(
    values(models.unet),
  );
});

test("a folder is not written over itself", () => {
  expect(() => savePipelineFolder(join(like, "."), tinyModels("sd15"), { like })).toThrow(/over itself/);
});
