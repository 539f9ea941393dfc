// What is particular about the flow families: files that hold a part of a pipeline, models without T5 or guidance.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad, scope, writeSafetensors } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { FluxTransformer2DModel } from "../models/flux-transformer-2d.js";
import { FLUX } from "../models/tiny-models.fixture.js";
import { guidedDenoiser } from "../pipelines/denoiser.js";
import { refusal } from "../refusal.fixture.js";
import { saveSingleFile } from "./load-single-file.js";
import { loadTextToImage } from "./load-text-to-image.js";
import { StableDiffusion3 } from "./stable-diffusion-3.js";
import { tinyFlowPipeline } from "./tiny-pipeline.fixture.js";

const root = mkdtempSync(join(tmpdir(), "flow-families-"));
afterAll(() => rmSync(root, { recursive: true }));

describe.each(["sd3", "flux"] as const)("a file of %s with the transformer alone", (family) => {
  const pipe = tinyFlowPipeline(family);
  const at = (name: string): string => join(root, `${family}-${name}`);
  const file = at("transformer.safetensors");
  saveSingleFile(file, { transformer: pipe.denoiser });
  pipe.save(at("folder"));
  const configsAlone = at("configs");
  pipe.save(configsAlone);
  for (const part of Object.keys(pipe.models))
    rmSync(
      join(
        configsAlone,
        part,
        part === "vae" || part === "transformer"
          ? "diffusion_pytorch_model.safetensors"
          : "model.safetensors",
      ),
    );

  test("is refused with every part that is missing, and how to give it", () => {
    const text = refusal(() => loadTextToImage(file, { configs: configsAlone }));
    for (const part of ["vae", "text_encoder", "text_encoder_2"])
      expect(text).toMatch(new RegExp(`no ${part}\\b`));
    expect(() => loadTextToImage(file, { configs: configsAlone })).toThrow(
      expect.objectContaining({ hint: expect.stringContaining("--part vae=FILE") }),
    );
    expect(refusal(() => loadTextToImage(file, { configs: configsAlone, parts: { unet: file } }))).toContain(
      "no part unet",
    );
  });

  test("is completed from a folder, and from a file or folder for each part, in the original names and in the model's own", () => {
    const vae = at("ae.safetensors");
    const prefix = "first_stage_model.";
    const original = pipe.family.parts.vae?.original
      .names(pipe.vae.config)
      .toOriginal(pipe.vae.namedParameters());
    writeSafetensors(
      vae,
      new Map([...(original ?? [])].map(([name, x]) => [family === "sd3" ? prefix + name : name, x])),
    );
    const clip = at("clip.safetensors");
    writeSafetensors(clip, pipe.models.text_encoder.namedParameters());
    const parts = {
      vae,
      text_encoder: clip,
      ...Object.fromEntries(
        Object.keys(pipe.models)
          .filter((part) => part.startsWith("text_encoder_"))
          .map((part) => [part, join(at("folder"), part)]),
      ),
    };
    for (const options of [{ configs: at("folder") }, { configs: configsAlone, parts }]) {
      const loaded = loadTextToImage(file, options);
      expect(Object.keys(loaded.models)).toEqual(Object.keys(pipe.models));
      for (const [part, model] of Object.entries(pipe.models)) {
        const found = loaded.models[part]?.namedParameters();
        for (const [name, value] of model.namedParameters())
          expect(found?.get(name)?.toNumbers(), `${part}.${name}`).toEqual(value.toNumbers());
      }
    }
  });
});

test("SD3 without T5 has zeros for its states, and its folder says that it goes without", () => {
  const whole = tinyFlowPipeline("sd3") as StableDiffusion3;
  const folder = join(root, "without-t5");
  new StableDiffusion3({ ...whole.parts, t5: undefined }).save(folder);
  const pipe = loadTextToImage(folder);
  expect(Object.keys(pipe.models)).not.toContain("text_encoder_3");
  noGrad(() =>
    scope(() => {
      const options = { size: [16, 16] as const };
      const [with5, without5] = [whole, pipe].map(
        (each) => each.encode(["a b"], options).conditional.context,
      );
      const length = whole.tokenizer.modelMaxLength;
      expect(without5?.narrow(1, 0, length).toNumbers()).toEqual(with5?.narrow(1, 0, length).toNumbers());
      const rest = without5?.narrow(1, length, (without5.shape[1] as number) - length).toNumbers() ?? [];
      expect(rest.length).toBeGreaterThan(0);
      expect(rest.every((value) => value === 0)).toBe(true);
    }),
  );
});

test("a folder without its VAE says where that belongs, and takes none from elsewhere", () => {
  const folder = join(root, "without-vae");
  tinyFlowPipeline("sd3").save(folder);
  rmSync(join(folder, "vae"), { recursive: true });
  expect(() => loadTextToImage(folder)).toThrow(
    expect.objectContaining({ hint: expect.stringContaining("The pipeline's vae belongs there") }),
  );
  const given = () => loadTextToImage(folder, { parts: { vae: join(folder, "vae") } });
  expect(refusal(given)).toContain("no other vae can be given for it");
});

test("SD3's folder says how many tokens of T5 it was made with", () => {
  const whole = tinyFlowPipeline("sd3") as StableDiffusion3;
  const lengths = [0, 3, undefined].map((t5Length, i) => {
    const folder = join(root, `tokens-${i}`);
    new StableDiffusion3({ ...whole.parts, t5: undefined, t5Length }).save(folder);
    return noGrad(() =>
      scope(
        () => loadTextToImage(folder).encode(["a"], { size: [16, 16] }).conditional.context?.shape[1] ?? 0,
      ),
    );
  });
  const clip = whole.tokenizer.modelMaxLength;
  expect(lengths).toEqual([clip, clip + 3, clip + 256]);
});

test("FLUX refuses a negative prompt, and a model distilled to need no guidance refuses a scale above 1", () => {
  const pipe = tinyFlowPipeline("flux");
  const size = [16, 16] as const;
  expect(refusal(() => pipe.encode(["a"], { negativePrompt: "b", size }))).toContain("negative prompt");
  noGrad(() =>
    scope(() => {
      const conditions = pipe.encode(["a"], { size });
      const model = new FluxTransformer2DModel({ ...FLUX, guidance_embeds: false });
      const denoiser = (guidanceScale: number) => guidedDenoiser({ model, ...conditions, guidanceScale });
      expect(refusal(() => denoiser(3.5))).toContain("3.5 means nothing to this model");
      expect(denoiser(1).samplePasses).toBe(1);
    }),
  );
});

test("parts of different models are refused", () => {
  const whole = tinyFlowPipeline("sd3") as StableDiffusion3;
  const { parts } = whole;
  expect(refusal(() => new StableDiffusion3({ ...parts, textEncoder2: parts.textEncoder }))).toContain(
    "pooled_projection_dim",
  );
});
