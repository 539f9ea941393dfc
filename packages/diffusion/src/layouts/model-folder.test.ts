import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { liveTensors, type Module, scope, type Tensor, writeSafetensors } from "@spo/torch";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { tinyModels } from "../models/tiny-models.fixture.js";
import { refusal } from "../refusal.fixture.js";
import { loadTextEncoder, loadUnet, loadVae, saveModel } from "./model-folder.js";

const root = mkdtempSync(join(tmpdir(), "model-folder-"));
afterAll(() => rmSync(root, { recursive: true }));

const MODELS = tinyModels("sd15");
const NAME = "diffusion_pytorch_model";
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(root, "unet-"));
});

const values = (model: Module): unknown =>
  Object.fromEntries([...model.namedParameters()].map(([name, x]) => [name, [x.shape, x.toTypedArray()]]));

/** Writes the UNet in two shards with an index, its weights by turns. */
function shard(index: string): Map<string, string> {
  saveModel(folder, MODELS.unet);
  rmSync(join(folder, `${NAME}.safetensors`));
  const places = new Map(
    [...MODELS.unet.namedParameters().keys()].map((name, i) => [name, `part-${i % 2}.safetensors`]),
  );
  for (const part of new Set(places.values())) {
    const tensors = [...MODELS.unet.namedParameters()].filter(([name]) => places.get(name) === part);
    writeSafetensors(join(folder, part), new Map(tensors));
  }
  writeFileSync(join(folder, index), JSON.stringify({ weight_map: Object.fromEntries(places) }));
  return places;
}

describe("shards with an index", () => {
  test.each([
    ["the plain name", `${NAME}.safetensors.index.json`, undefined],
    ["the variant's name", `${NAME}.safetensors.index.fp16.json`, "fp16"],
    ["the variant's older name", `${NAME}.fp16.safetensors.index.json`, "fp16"],
  ])("are read under %s", (_, index, variant) => {
    shard(index);
    const before = liveTensors();
    const unet = loadUnet(folder, { variant });
    expect(values(unet)).toEqual(values(MODELS.unet));
    unet.dispose();
    expect(liveTensors()).toBe(before);
  });

  test("that lack a shard and a weight are refused with both", () => {
    const places = shard(`${NAME}.safetensors.index.json`);
    const index = {
      ...Object.fromEntries(places),
      "conv_in.weight": "part-9.safetensors",
      extra: "part-1.safetensors",
    };
    writeFileSync(join(folder, `${NAME}.safetensors.index.json`), JSON.stringify({ weight_map: index }));
    const text = refusal(() => loadUnet(folder));
    expect(text).toMatch(/part-9\.safetensors +this shard is missing/);
    expect(text).toMatch(/extra +is not in part-1\.safetensors/);
  });

  test("outside the folder are refused", () => {
    shard(`${NAME}.safetensors.index.json`);
    const index = { "conv_in.weight": "../part-0.safetensors" };
    writeFileSync(join(folder, `${NAME}.safetensors.index.json`), JSON.stringify({ weight_map: index }));
    expect(refusal(() => loadUnet(folder))).toMatch(/\.\.\/part-0\.safetensors"? +lies outside the folder/);
  });

  test("that are named by no text are refused by what stands there", () => {
    shard(`${NAME}.safetensors.index.json`);
    const index = { "conv_in.weight": { file: "part-0.safetensors" }, "conv_in.bias": null };
    writeFileSync(join(folder, `${NAME}.safetensors.index.json`), JSON.stringify({ weight_map: index }));
    const text = refusal(() => loadUnet(folder));
    expect(text).toMatch(/\{"file":"part-0\.safetensors"\} +is no file name/);
    expect(text).toMatch(/null +is no file name/);
  });
});

describe("variants", () => {
  test("float16 weights are written under the variant's name and read as their rounded values", () => {
    scope(() => {
      saveModel(folder, MODELS.unet, { dtype: "float16", variant: "fp16" });
      expect(readdirSync(folder).sort()).toEqual(["config.json", `${NAME}.fp16.safetensors`]);
      const unet = loadUnet(folder, { variant: "fp16" });
      for (const [name, value] of MODELS.unet.namedParameters()) {
        const rounded = value.detach().to({ dtype: "float16" }).to({ dtype: "float32" });
        expect((unet.namedParameters().get(name) as Tensor).toTypedArray()).toEqual(rounded.toTypedArray());
      }
    });
  });

  test("the plain file is taken when both are there, the other on request or when it is alone", () => {
    saveModel(folder, MODELS.vae);
    saveModel(folder, tinyModels("sd15", 2).vae, { variant: "fp16" });
    expect(values(loadVae(folder))).toEqual(values(MODELS.vae));
    expect(values(loadVae(folder, { variant: "fp16" }))).not.toEqual(values(MODELS.vae));
    rmSync(join(folder, `${NAME}.safetensors`));
    expect(values(loadVae(folder))).not.toEqual(values(MODELS.vae));
  });

  test("one that is not there is refused with the names looked for", () => {
    saveModel(folder, MODELS.vae);
    expect(refusal(() => loadVae(folder, { variant: "bf16" }))).toMatch(
      /looked for diffusion_pytorch_model\.bf16\.safetensors/,
    );
  });
});

describe("older names", () => {
  test("a VAE's attention under query, key, value and proj_attn, also as 1×1 convolutions, gives the same weights", () => {
    scope(() => {
      saveModel(folder, MODELS.vae);
      for (const kernel of [[], [1, 1]]) {
        const old = [...MODELS.vae.namedParameters()].map(([name, x]): [string, Tensor] => [
          name
            .replace("to_q", "query")
            .replace("to_k", "key")
            .replace("to_v", "value")
            .replace("to_out.0", "proj_attn"),
          /to_.*weight/.test(name) ? x.detach().reshape([...x.shape, ...kernel]) : x,
        ]);
        expect(old.filter(([name]) => /query|key|value|proj_attn/.test(name))).toHaveLength(16);
        writeSafetensors(join(folder, `${NAME}.safetensors`), new Map(old));
        expect(values(loadVae(folder))).toEqual(values(MODELS.vae));
      }
    });
  });

  test("a text encoder without the prefix text_model. and with a buffer of positions gives the same weights", () => {
    scope(() => {
      const { text_encoder: encoder } = MODELS;
      saveModel(folder, encoder);
      const old = [...encoder.namedParameters()].map(([name, x]): [string, Tensor] => [
        name.replace("text_model.", ""),
        x,
      ]);
      const positions = (old[0] as [string, Tensor])[1].detach();
      writeSafetensors(
        join(folder, "model.safetensors"),
        new Map([...old, ["embeddings.position_ids", positions]]),
      );
      expect(values(loadTextEncoder(folder))).toEqual(values(encoder));
    });
  });
});

test("a folder without weights is refused with the names looked for", () => {
  mkdirSync(folder, { recursive: true });
  saveModel(folder, MODELS.unet);
  renameSync(join(folder, `${NAME}.safetensors`), join(folder, "weights.safetensors"));
  expect(refusal(() => loadUnet(folder))).toMatch(
    /has no weights: looked for diffusion_pytorch_model\.safetensors/,
  );
});
