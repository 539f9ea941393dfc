// Folders with configs as people's checkpoints have them, against the images that diffusers draws. Made by
// scripts/golden/published_configs.py.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Generator, openSafetensors, scope } from "@spo/torch";
import { onWarning } from "@spo/torch/warnings";
import { afterAll, describe, expect, test } from "vitest";
import { readJson } from "../config.js";
import { sampleLatents } from "../pipelines/sample-latents.js";
import { refusal } from "../refusal.fixture.js";
import { chooseSampler } from "../samplers/sampler-names.js";
import type { TextToImage } from "./family.js";
import { loadTextToImage } from "./load-text-to-image.js";
import type { StableDiffusion } from "./stable-diffusion.js";

const golden = fileURLToPath(new URL("../../../../tests/golden", import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), "published-configs-"));
afterAll(() => rmSync(temporary, { recursive: true }));

type Json = Record<string, unknown>;
interface Case {
  family: "sd15" | "sdxl";
  files?: Record<string, Json>;
  /** Fields by file; null takes one out. */
  edits?: Record<string, Json>;
  sampler?: string;
  schedule?: string;
}

/** The folder of a case. */
function folderOf(name: string, { family, files = {}, edits = {} }: Case): string {
  const folder = join(temporary, name);
  cpSync(join(golden, "small", `tiny-${family}`), folder, { recursive: true });
  for (const [file, value] of Object.entries(files)) writeFileSync(join(folder, file), JSON.stringify(value));
  for (const [file, fields] of Object.entries(edits)) {
    const value: Json = { ...(readJson(join(folder, file)) as Json), ...fields };
    for (const field of Object.keys(fields)) if (fields[field] === null) delete value[field];
    writeFileSync(join(folder, file), JSON.stringify(value));
  }
  return folder;
}

/** What is warned of meanwhile. */
function heard<T>(call: () => T): { result: T; warnings: string[] } {
  const warnings: string[] = [];
  const stop = onWarning((message) => warnings.push(message));
  try {
    return { result: call(), warnings };
  } finally {
    stop();
  }
}

const load = (folder: string): TextToImage => heard(() => loadTextToImage(folder)).result;

const cases = readJson(join(golden, "published-configs", "cases.json"), { large: true }) as Record<
  string,
  Case
>;
const file = openSafetensors(join(golden, "published-configs", "images.safetensors"));
const call = JSON.parse(file.metadata.meta as string) as {
  prompt: string;
  num_inference_steps: number;
  guidance_scale: number;
  seed: number;
};
const images = new Map(Object.keys(cases).map((name) => [name, file.get(name).toNumbers()]));
file.close();

test.each(Object.entries(cases))("diffusers and we draw the same of %s", (name, given) => {
  const pipe = load(folderOf(name, given));
  const drawn = scope(() => {
    const latents = sampleLatents(pipe, {
      prompts: [call.prompt],
      generators: [new Generator(call.seed)],
      latentSize: [32 / pipe.vae.factor, 32 / pipe.vae.factor],
      steps: call.num_inference_steps,
      guidanceScale: call.guidance_scale,
      ...chooseSampler(given),
    });
    return pipe.vae
      .decodeLatents(latents)
      .div(2)
      .add(0.5)
      .clamp(0, 1)
      .mul(255)
      .round()
      .permute([0, 2, 3, 1])
      .contiguous()
      .toNumbers();
  });
  const wanted = images.get(name) as number[];
  expect(drawn).toHaveLength(wanted.length);
  const largest = drawn.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (wanted[i] as number))),
    0,
  );
  expect(largest).toBeLessThanOrEqual(1);
  for (const model of Object.values(pipe.models)) model.dispose();
});

describe("what is read otherwise than it is written is told of:", () => {
  const warningsOf = (name: string, given: Case): string =>
    heard(() => loadTextToImage(folderOf(`told-${name}`, given))).warnings.join("\n");

  test("what StableDiffusionPipeline repairs", () => {
    expect(warningsOf("clip", cases["clip-true"] as Case)).toContain("clip_sample true is read as false");
    expect(warningsOf("offset", cases["offset-0-ddim"] as Case)).toContain("steps_offset 0 is read as 1");
    expect(warningsOf("xl", cases["xl-offset-0"] as Case)).toBe("");
  });

  test("a scheduler of another class than model_index.json names", () => {
    const said = warningsOf("index", cases["index-pndm-config-euler"] as Case);
    expect(said).toContain("is a EulerDiscreteScheduler's, and model_index.json says PNDMScheduler");
  });

  test("fields that no scheduler reads, and statistics that the pipeline does not use", () => {
    expect(warningsOf("field", cases["unknown-field"] as Case)).toContain("a_field_of_tomorrow");
    expect(warningsOf("statistics", cases["vae-statistics"] as Case)).toContain("latents_mean");
    expect(warningsOf("plain", { family: "sd15" })).toBe("");
  });
});

describe("a UNet's sample_size below 64", () => {
  const unet = (fields: Json, family: Case["family"] = "sd15", index: Json = {}): Case => ({
    family,
    edits: { "unet/config.json": { sample_size: 8, ...fields }, "model_index.json": index },
  });
  test.each<[string, Case, number]>([
    ["is 64 where diffusers before 0.9 wrote it", unet({ _diffusers_version: "0.6.0" }), 64],
    ["of 0.8.1", unet({ _diffusers_version: "0.8.1" }), 64],
    ["stays as later versions wrote it", unet({ _diffusers_version: "0.9.0" }), 8],
    ["stays where a development version of 0.9 wrote it", unet({ _diffusers_version: "0.9.0.dev0" }), 8],
    ["stays in 0.10", unet({ _diffusers_version: "0.10.2" }), 8],
    ["stays without a version", unet({ _diffusers_version: null }), 8],
    ["stays in SDXL", unet({ _diffusers_version: "0.6.0" }, "sdxl"), 8],
    [
      "stays in a latent consistency model",
      unet({ _diffusers_version: "0.6.0" }, "sd15", { _class_name: "LatentConsistencyModelPipeline" }),
      8,
    ],
  ])("%s", (name, given, size) => {
    const { result, warnings } = heard(() => loadTextToImage(folderOf(`size-${name}`, given)));
    expect(result.denoiser.sampleSize).toEqual([size, size]);
    expect(warnings.some((text) => text.includes("sample_size 8 is read as 64"))).toBe(size === 64);
  });
});

test("a folder that was loaded and saved means the same to a reader that goes by the index", () => {
  for (const name of ["index-ddim-config-dpm", "clip-true", "empty-euler"]) {
    const pipe = heard(() => loadTextToImage(folderOf(`saved-${name}`, cases[name] as Case))).result;
    const saved = join(temporary, `again-${name}`);
    (pipe as unknown as { save(folder: string): void }).save(saved);
    const { scheduler } = readJson(join(saved, "model_index.json")) as { scheduler: string[] };
    const config = readJson(join(saved, "scheduler", "scheduler_config.json")) as { _class_name: string };
    expect(config._class_name).toBe(scheduler[1]);
    expect(load(saved).schedule.config).toEqual(pipe.schedule.config);
  }
});

describe("a folder is refused with words where", () => {
  const said = (edits: Case["edits"], family: Case["family"] = "sd15"): string =>
    refusal(() => load(folderOf(`refused-${number++}`, { family, edits })));
  let number = 0;

  test.each<[string, Record<string, Json>, string]>([
    ["the index leaves a part out", { "model_index.json": { text_encoder: [null, null] } }, "text_encoder"],
    [
      "the index names another VAE",
      { "model_index.json": { vae: ["diffusers", "AutoencoderTiny"] } },
      "AutoencoderTiny",
    ],
    [
      "a tokenizer makes more tokens than there are positions",
      { "tokenizer/tokenizer_config.json": { model_max_length: 999_999 } },
      "999999 tokens",
    ],
    [
      "heads do not divide the text's width",
      { "text_encoder/config.json": { num_attention_heads: 3 } },
      "3 heads do not divide the width 8",
    ],
    [
      "there are a thousand million layers of text",
      { "text_encoder/config.json": { num_hidden_layers: 1e9 } },
      "num_hidden_layers",
    ],
    [
      "there are a million layers a block",
      { "unet/config.json": { layers_per_block: 1e6 } },
      "layers_per_block",
    ],
    [
      "many layers make too many blocks together",
      { "unet/config.json": { layers_per_block: 500, transformer_layers_per_block: 500 } },
      "blocks",
    ],
    ["a UNet is for images without end", { "unet/config.json": { sample_size: 1e9 } }, "sample_size"],
    ["a VAE is for images without end", { "vae/config.json": { sample_size: 1e9 } }, "sample_size"],
    [
      "there are a thousand million timesteps",
      { "scheduler/scheduler_config.json": { num_train_timesteps: 1e9 } },
      "num_train_timesteps",
    ],
    [
      "the steps are offset beyond the last timestep",
      { "scheduler/scheduler_config.json": { steps_offset: 1000 } },
      "steps_offset",
    ],
    [
      "half a timestep is asked for",
      { "scheduler/scheduler_config.json": { num_train_timesteps: 0.5 } },
      "num_train_timesteps",
    ],
    [
      "nothing of the image is left",
      { "scheduler/scheduler_config.json": { beta_start: 0.9, beta_end: 0.99 } },
      "nothing of an image",
    ],
    [
      "the text is to be masked",
      { "text_encoder/config.json": { use_attention_mask: true } },
      "use_attention_mask",
    ],
  ])("%s", (_, edits, words) => {
    expect(said(edits)).toContain(words);
  });

  test("two tokenizers of SDXL make texts of two lengths", () => {
    const edits = { "tokenizer_2/tokenizer_config.json": { model_max_length: 40 } };
    expect(said(edits, "sdxl")).toContain("tokenizer_2 40");
  });

  test("a prompt has a word beyond the embeddings, and other prompts are drawn", () => {
    const folder = folderOf("beyond", { family: "sd15" });
    writeFileSync(join(folder, "tokenizer", "added_tokens.json"), JSON.stringify({ "<toy>": 664 }));
    const { result: pipe, warnings } = heard(() => loadTextToImage(folder));
    expect(warnings.join()).toContain("ids up to 664");
    expect(() => scope(() => void pipe.tokenize(["a cat"]))).not.toThrow();
    expect(refusal(() => pipe.tokenize(["a cat", "a <toy>"]))).toContain("a <toy>");
  });

  test("a JSON file holds something else than an object", () => {
    const files = [
      "model_index.json",
      "unet/config.json",
      "vae/config.json",
      "text_encoder/config.json",
      "scheduler/scheduler_config.json",
    ];
    for (const name of [
      ...files,
      "tokenizer/vocab.json",
      "tokenizer/tokenizer_config.json",
      "tokenizer/special_tokens_map.json",
    ])
      for (const text of ["null", "[1, 2]", "7", '"text"']) {
        const folder = folderOf(`odd-${number++}`, { family: "sd15" });
        writeFileSync(join(folder, name), text);
        expect(
          refusal(() => load(folder)),
          `${name} ${text}`,
        ).toContain(name.split("/").at(-1));
        rmSync(folder, { recursive: true });
      }
  });
});

test("more steps than the timesteps of training allow are refused by name, and not by the samplers that go by levels", () => {
  const { process } = load(folderOf("many-steps", { family: "sd15" })) as StableDiffusion;
  expect(refusal(() => process.alphaBar(1000))).toContain("steps_offset 1");
  expect(refusal(() => process.timesteps(1001))).toContain("from 1 to the num_train_timesteps");
  expect(readFileSync(join(temporary, "many-steps", "model_index.json"), "utf8")).toContain("PNDM");
});
