// What every family must do, whichever models it has.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  cat,
  Generator,
  Linear,
  noGrad,
  ones,
  openSafetensors,
  openWeights,
  randn,
  scope,
  type Tensor,
  UserError,
  zeros,
} from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { readModelIndex } from "../layouts/model-index.js";
import type { LoraAdapter } from "../lora/lora-adapter.js";
import { addFamilyLora, loraFamily } from "../lora/lora-family.js";
import { readLora, saveLora, writeLora } from "../lora/lora-file.js";
import { allRows, joinRows, selectRows, splitRows } from "../models/conditions.js";
import type { DenoiserModel } from "../models/denoiser-model.js";
import type { TinyFamily } from "../models/tiny-models.fixture.js";
import { guidedDenoiser } from "../pipelines/denoiser.js";
import {
  blankModels,
  FAMILIES,
  familyOfConfigs,
  familyOfDenoiser,
  familyOfFolder,
  familyOfModels,
  readConfigs,
} from "./families.js";
import type { Family, TextToImage } from "./family.js";
import { loadSingleFile, saveSingleFile } from "./load-single-file.js";
import { tinyFlowPipeline, tinyPipeline } from "./tiny-pipeline.fixture.js";

const folder = mkdtempSync(join(tmpdir(), "families-"));
afterAll(() => rmSync(folder, { recursive: true }));

const farthest = (a: Tensor, b: Tensor): number => a.sub(b).abs().max().item();

const tinyOf = ({ name }: Family): TextToImage =>
  name === "sd3" || name === "flux" ? tinyFlowPipeline(name) : tinyPipeline(name as TinyFamily);

describe.each(FAMILIES)("the family $name", (family) => {
  const pipe = tinyOf(family);
  const others = FAMILIES.filter((other) => other !== family);
  const at = (name: string): string => join(folder, `${family.name}-${name}`);
  pipe.save(at("folder"));
  saveSingleFile(at("file.safetensors"), pipe.models, { scheduler: pipe.schedule.config });
  const published = blankModels(family, family.published);
  const denoiser = published[family.denoiser] as DenoiserModel;

  test("knows its models, its configs and its denoiser, and none of another family's", () => {
    expect(pipe.family).toBe(family);
    expect(familyOfModels(pipe.models)).toBe(family);
    expect(familyOfDenoiser(denoiser)).toBe(family);
    expect(familyOfConfigs(family.published)).toBe(family);
    expect(familyOfConfigs(readConfigs(at("folder"), family))).toBe(family);
    for (const other of others) expect(other.isDenoiser(pipe.denoiser)).toBe(false);
  });

  test("loads the folder that it wrote, which no other family takes", () => {
    expect(familyOfFolder(at("folder"))).toBe(family);
    expect(readModelIndex(at("folder"), FAMILIES).family).toBe(family);
    expect(family.load(at("folder")).family).toBe(family);
    for (const other of others) expect(() => other.load(at("folder"))).toThrow(UserError);
  });

  test("loads the one file that it wrote, which no other family takes for its own", () => {
    using file = openWeights(at("file.safetensors"));
    expect(FAMILIES.filter(({ isSingleFile }) => isSingleFile(file))).toEqual([family]);
    expect(loadSingleFile(at("file.safetensors"), { configs: at("folder") }).family).toBe(family);
  });

  test("takes a file of other sizes than the published model's not for that", () => {
    using file = openWeights(at("file.safetensors"));
    for (const { configsOf } of FAMILIES) expect(configsOf(file)).toBeUndefined();
  });

  test.each(["kohya", "peft", "diffusers", "comfy"] as const)(
    "knows a LoRA for its published model in %s's names, which is no other family's",
    (layout) => {
      const layers = [...denoiser.modules()].filter(
        ([name, module]) =>
          module instanceof Linear && family.loraTargets.some((end) => name.endsWith(`.${end}`)),
      );
      for (const end of family.loraTargets)
        expect(layers.some(([name]) => name.endsWith(`.${end}`))).toBe(true);
      const path = at(`${layout}.safetensors`);
      scope(() => {
        const adapter: LoraAdapter = new Map(
          layers.map(([name, layer]) => {
            const [outputs, inputs] = (layer as Linear).weight.shape as [number, number];
            const weights = { down: ones([1, inputs]), up: zeros([outputs, 1]), alpha: 1 };
            return [`${family.denoiser}.${name}`, weights];
          }),
        );
        writeLora(path, adapter, published, { layout });
        expect(loraFamily(path)).toBe(family);
        using file = openSafetensors(path);
        for (const other of others) expect(other.isLora(file)).toBe(false);
        expect(file.metadata["modelspec.architecture"]).toBe(`${family.metadata.architecture}/lora`);
        expect([...readLora(path, published).adapter.keys()].sort()).toEqual([...adapter.keys()].sort());
      });
    },
  );

  test("writes an architecture into its files by which no other family's are called", () => {
    using file = openSafetensors(at("file.safetensors"));
    const { architecture } = family.metadata;
    expect(file.metadata["modelspec.architecture"]).toBe(architecture);
    for (const other of others) expect(other.metadata.architecture).not.toBe(architecture);
  });

  test("has a denoiser of the VAE's latents, whose prediction has their shape", () => {
    noGrad(() =>
      scope(() => {
        const { denoiser } = pipe;
        const shape = denoiser.latentShape([8, 4]);
        expect(shape).toEqual([pipe.vae.config.latent_channels, 8, 4]);
        expect(denoiser.latentShape(denoiser.sampleSize)[0]).toBe(denoiser.latentChannels);
        const { conditional } = pipe.encode(["a"], { size: [16, 8] });
        const xt = randn([1, ...shape], { generator: new Generator(1) });
        expect(denoiser.forward(xt, 501, conditional, { guidanceScale: 1 }).shape).toEqual([1, ...shape]);
      }),
    );
  });

  test("encodes prompts as its denoiser takes them, and their rows can be taken, joined and repeated", () => {
    noGrad(() =>
      scope(() => {
        const { conditional, unconditional } = pipe.encode(["a", "b"], { size: [16, 16] });
        const tokens = conditional.context?.shape[1] as number;
        const shapes = pipe.denoiser.conditionShapes(tokens);
        for (const side of [conditional, unconditional])
          expect(Object.fromEntries(Object.entries(side).map(([name, x]) => [name, x.shape]))).toEqual(
            Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, [2, ...shape]])),
          );
        const second = pipe.encode(["b"], { size: [16, 16] }).conditional;
        for (const [name, row] of Object.entries(selectRows(conditional, [1])))
          expect(farthest(row, second[name] as Tensor), name).toBeLessThan(1e-5);
        for (const [name, all] of Object.entries(joinRows(splitRows(conditional))))
          expect(farthest(all, conditional[name] as Tensor), name).toBe(0);

        const predict = guidedDenoiser({
          model: pipe.denoiser,
          conditional,
          unconditional,
          guidanceScale: 3,
        });
        const xt = randn([1, ...pipe.denoiser.latentShape([8, 8])], { generator: new Generator(2) });
        const three = predict.forRows([0, 1, 0])(xt.expand([3, -1, -1, -1]), 501);
        const each = predict.forRows(allRows(conditional))(xt.expand([2, -1, -1, -1]), 501);
        expect(farthest(three, cat([0, 1, 0].map((row) => each.narrow(0, row, 1))))).toBeLessThan(1e-4);
        expect(farthest(each.select(0, 0), each.select(0, 1))).toBeGreaterThan(1e-4);
      }),
    );
  });

  test("trains a LoRA on the layers that it names, which another pipeline of the family reads", () => {
    const { denoiser: fresh } = tinyOf(family);
    const lora = addFamilyLora(fresh, { rank: 2 }, new Generator(1));
    expect(lora.layers.size).toBeGreaterThan(0);
    saveLora(at("trained.safetensors"), lora, fresh);
    const { adapter } = readLora(at("trained.safetensors"), pipe.models);
    expect(adapter.size).toBe(lora.layers.size);
  });
});
