import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Generator, initialize, type Module } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { loadUnet, saveModel } from "../layouts/model-folder.js";
import { CLIPTextModel } from "../models/clip-text.js";
import { TEXTS } from "../models/tiny-models.fixture.js";
import { saveSingleFile } from "./load-single-file.js";
import { loadTextToImage } from "./load-text-to-image.js";
import { tinyPipeline } from "./tiny-pipeline.fixture.js";

const root = mkdtempSync(join(tmpdir(), "pipeline-"));
afterAll(() => rmSync(root, { recursive: true }));

const values = (model: Module | undefined): unknown =>
  [...(model?.namedParameters() ?? [])].map(([name, x]) => [name, x.dtype, x.toTypedArray()]);
const json = (...path: string[]): Record<string, unknown> =>
  JSON.parse(readFileSync(join(root, ...path), "utf8"));

const EULER = {
  _class_name: "EulerAncestralDiscreteScheduler",
  prediction_type: "v_prediction" as const,
  steps_offset: 1,
  a_field_of_theirs: "kept",
};

describe.each(["sd15", "sdxl"] as const)("a saved %s pipeline", (family) => {
  const pipe = tinyPipeline(family, { schedulerConfig: EULER });
  pipe.save(join(root, family));

  test("is loaded with the same weights, tokens and scheduler", () => {
    const loaded = loadTextToImage(join(root, family));
    expect(loaded.constructor).toBe(pipe.constructor);
    const parts = Object.keys(pipe.models) as (keyof typeof pipe.models)[];
    for (const part of parts) expect(values(loaded.models[part])).toEqual(values(pipe.models[part]));
    const texts = ["abc! x", "hello there my dear", "<|endoftext|> a"];
    expect(loaded.tokenize(texts).map((ids) => ids.toNumbers())).toEqual(
      pipe.tokenize(texts).map((ids) => ids.toNumbers()),
    );
    expect(json(family, "scheduler", "scheduler_config.json")).toEqual(EULER);
  });

  test("has an index that names its scheduler and all of its parts", () => {
    const index = json(family, "model_index.json");
    expect(index.scheduler).toEqual(["diffusers", "EulerAncestralDiscreteScheduler"]);
    const parts = readdirSync(join(root, family)).filter((name) => name !== "model_index.json");
    for (const part of parts) expect(index[part], part).toEqual([expect.any(String), expect.any(String)]);
  });

  test("written as one file and loaded from it has the same weights, in the file's own precision too", () => {
    const file = join(root, `${family}.safetensors`);
    saveSingleFile(file, pipe.models, { dtype: "float16" });
    const configs = join(root, family);
    const stored = loadTextToImage(file, { configs, dtype: "stored" });
    const plain = loadTextToImage(file, { configs });
    for (const part of Object.keys(pipe.models) as (keyof typeof pipe.models)[]) {
      const halves = pipe.models[part]?.parameters().map((x) => x.detach().to({ dtype: "float16" })) ?? [];
      for (const [i, x] of (stored.models[part]?.parameters() ?? []).entries())
        expect([x.dtype, x.toTypedArray()]).toEqual(["float16", halves[i]?.toTypedArray()]);
      for (const [i, x] of (plain.models[part]?.parameters() ?? []).entries())
        expect([x.dtype, x.toNumbers()]).toEqual(["float32", halves[i]?.toNumbers()]);
    }
    expect(plain.tokenize(["ab"]).map(String)).toEqual(pipe.tokenize(["ab"]).map(String));
  });
});

test("a variant's weights are halves under the variant's name", () => {
  const pipe = tinyPipeline("sd15");
  const folder = join(root, "half");
  pipe.save(folder, { dtype: "float16", variant: "fp16" });
  expect(readdirSync(join(folder, "unet")).sort()).toEqual([
    "config.json",
    "diffusion_pytorch_model.fp16.safetensors",
  ]);
  pipe.denoiser.to({ dtype: "float16" });
  expect(values(loadUnet(join(folder, "unet"), { variant: "fp16", dtype: "float16" }))).toEqual(
    values(pipe.denoiser),
  );
});

test("a scheduler without a class is written as DDIM's, with every value that its defaults would change", () => {
  tinyPipeline("sd15").save(join(root, "ddim"));
  expect(json("ddim", "scheduler", "scheduler_config.json")).toMatchObject({
    _class_name: "DDIMScheduler",
    beta_schedule: "scaled_linear",
    clip_sample: false,
    set_alpha_to_one: false,
    steps_offset: 1,
  });
  expect(json("ddim", "model_index.json").scheduler).toEqual(["diffusers", "DDIMScheduler"]);
});

test("fractions of a text encoder's config are written as fractions, which transformers wants", () => {
  const config = { ...TEXTS.sd15, initializer_factor: 1, attention_dropout: 0 };
  const model = new CLIPTextModel(config);
  initialize(model, new Generator(1));
  saveModel(join(root, "text"), model);
  const text = readFileSync(join(root, "text", "config.json"), "utf8");
  expect(text).toMatch(/"initializer_factor": 1\.0,?\n/);
  expect(text).toMatch(/"attention_dropout": 0\.0,?\n/);
  expect(JSON.parse(text)).toMatchObject(config);
});
