// A preference model can start from every layout that scorers are published in.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clipProcessor, loadClip } from "@spo/scorers";
import {
  cat,
  Generator,
  initialize,
  keep,
  noGrad,
  randn,
  scope,
  type Tensor,
  tensor,
  writeSafetensors,
} from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { UNEVEN_SPM } from "../tiny-models.fixture.js";
import { fromClip, isTimeConditioning, loadSpm, StepAwarePreferenceModel, saveSpm, startSpm } from "./spm.js";

const folder = mkdtempSync(join(tmpdir(), "spo-layouts-"));
afterAll(() => rmSync(folder, { recursive: true }));

const generator = new Generator(1);
const trained = new StepAwarePreferenceModel(UNEVEN_SPM);
initialize(trained, generator);
noGrad(() => {
  for (const [name, value] of trained.namedParameters())
    if (name !== "logit_scale") value.normal_(0, 0.3, { generator });
});
const all = trained.namedParameters();
const plain = new Map([...all].filter(([name]) => !isTimeConditioning(name)));
const pixels = keep(randn([2, 3, 16, 16], { generator }));
const ids = keep(tensor([[1, 5, 7, 49, 49], [1, 9, 49, 0, 0]], { dtype: "int64" })); // biome-ignore format: rows

/** open_clip's names; q, k and v joined, the projections transposed. */
function openClipWeights(weights: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const found = new Map<string, Tensor>();
  const words: [string, string][] = [
    ["vision_model.embeddings.class_embedding", "visual.class_embedding"],
    ["vision_model.embeddings.patch_embedding", "visual.conv1"],
    ["vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"],
    ["vision_model.pre_layrnorm", "visual.ln_pre"],
    ["vision_model.post_layernorm", "visual.ln_post"],
    ["vision_model.encoder.layers", "visual.transformer.resblocks"],
    ["text_model.embeddings.token_embedding", "token_embedding"],
    ["text_model.embeddings.position_embedding.weight", "positional_embedding"],
    ["text_model.final_layer_norm", "ln_final"],
    ["text_model.encoder.layers", "transformer.resblocks"],
    ["layer_norm1", "ln_1"],
    ["layer_norm2", "ln_2"],
    ["self_attn", "attn"],
    ["fc1", "c_fc"],
    ["fc2", "c_proj"],
  ];
  for (const [name, value] of weights) {
    if (/\.[kv]_proj\./.test(name)) continue;
    const theirs = words.reduce((text, [from, to]) => text.replace(from, to), name);
    if (/\.q_proj\./.test(name)) {
      const three = ["q", "k", "v"].map((letter) =>
        weights.get(name.replace(".q_proj.", `.${letter}_proj.`)),
      );
      found.set(theirs.replace(/q_proj\./, "in_proj_"), cat(three as Tensor[]));
    } else if (name === "visual_projection.weight")
      found.set("visual.proj", value.transpose(0, 1).contiguous());
    else if (name === "text_projection.weight")
      found.set("text_projection", value.transpose(0, 1).contiguous());
    else found.set(theirs, value);
  }
  return found;
}

const at = (...path: string[]): string => join(folder, ...path);
function write(name: string, file: string, weights: ReadonlyMap<string, Tensor>, configs: object): string {
  mkdirSync(at(name), { recursive: true });
  writeSafetensors(at(name, file), weights);
  for (const [config, value] of Object.entries(configs))
    writeFileSync(at(name, config), JSON.stringify(value));
  return at(name);
}
const named = (weights: ReadonlyMap<string, Tensor>, change: (name: string) => string): Map<string, Tensor> =>
  new Map([...weights].map(([name, value]) => [change(name), value]));
const positions = (): [string, Tensor][] =>
  ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"].map((name) => [
    name,
    tensor([[0, 1, 2]], { dtype: "int64" }),
  ]);
const openClipConfig = {
  model_cfg: {
    embed_dim: 12,
    vision_cfg: { image_size: 16, layers: 2, width: 24, patch_size: 4, head_width: 8 },
    text_cfg: { context_length: 10, vocab_size: 50, width: 16, heads: 2, layers: 2 },
  },
};

noGrad(() => {
  write("transformers", "model.safetensors", plain, { "config.json": UNEVEN_SPM });
  // As yuvalkirstain/PickScore_v1: the whole config, and old buffers among the weights.
  write("pickscore", "model.safetensors", new Map([...plain, ...positions()]), {
    "config.json": {
      architectures: ["CLIPModel"],
      model_type: "clip",
      logit_scale_init_value: 2.6592,
      ...UNEVEN_SPM,
    },
    "preprocessor_config.json": { crop_size: { height: 16, width: 16 }, resample: 3 },
  });
  write("open-clip", "open_clip_model.safetensors", openClipWeights(plain), {
    "open_clip_config.json": openClipConfig,
  });
});

/** Largest difference of the scores of both models, at any of these timesteps. */
function gap(spm: StepAwarePreferenceModel, scorer: ReturnType<typeof loadClip>["model"]): number {
  return noGrad(() =>
    scope(() => {
      const image = scorer.imageFeatures(pixels);
      const text = scorer.textFeatures(ids);
      const plainScores = image.mul(text).sum(-1).mul(scorer.logit_scale.exp());
      const gaps = [0, 1, 251, 640, 999].map((t) =>
        spm.scores(spm.imageFeatures(pixels, t), spm.textFeatures(ids)).sub(plainScores).abs().max().item(),
      );
      return Math.max(...gaps);
    }),
  );
}

describe.each([
  ["transformers' layout", () => at("transformers")],
  ["PickScore's layout", () => at("pickscore")],
  ["open_clip's layout", () => at("open-clip")],
  ["one file in open_clip's layout", () => at("open-clip", "open_clip_model.safetensors")],
  ["one file in transformers' layout", () => at("transformers", "model.safetensors")],
])("a CLIP in %s", (_, path) => {
  test("becomes a preference model that scores as it does at every timestep", () => {
    const { spm, processor } = startSpm(path(), new Generator(7));
    expect(processor).toEqual(clipProcessor(16));
    expect(gap(spm, loadClip(at("transformers")).model)).toBeLessThan(2e-5);
    expect(gap(trained, loadClip(at("transformers")).model)).toBeGreaterThan(0.1); // the measure can tell
  });

  test("is no preference model by itself", () => {
    expect(() => loadSpm(path())).toThrow(/plain CLIP, not a step-aware preference model/);
  });
});

/** Each weight is bit for bit the trained model's. */
function expectSame(weights: ReadonlyMap<string, Tensor>): void {
  for (const [name, value] of weights) {
    expect(value.toTypedArray(), name).toEqual((all.get(name) as Tensor).toTypedArray());
  }
}

describe("the published preference model's file", () => {
  const files: [string, () => string][] = [
    [
      "with the prefix model.",
      () =>
        write(
          "prefixed",
          "model.safetensors",
          named(new Map([...all, ...positions()]), (name) => `model.${name}`),
          { "config.json": UNEVEN_SPM },
        ),
    ],
    ["without it", () => write("bare", "model.safetensors", all, { "config.json": UNEVEN_SPM })],
    [
      "as one file beside a config",
      () =>
        join(
          write(
            "file",
            "final_ckpt.safetensors",
            named(all, (name) => `model.${name}`),
            {
              "config.json": UNEVEN_SPM,
            },
          ),
          "final_ckpt.safetensors",
        ),
    ],
  ];
  test.each(files)("%s loads to the same weights, and training goes on from them", (_, path) => {
    const from = path();
    for (const { spm } of [loadSpm(from), startSpm(from, new Generator(3))]) {
      const loaded = spm.namedParameters();
      expect([...loaded.keys()].sort()).toEqual([...all.keys()].sort());
      expectSame(loaded);
    }
    expect(() => fromClip(from, new Generator(3))).toThrow(/step-aware preference model, not a plain CLIP/);
  });

  test("written by us has every name under the prefix model. and reads back to the same bits", () => {
    saveSpm(at("saved"), trained, clipProcessor(16));
    expectSame(loadSpm(at("saved")).spm.namedParameters());
  });

  test("of other sizes without a config says which file is missing", () => {
    write(
      "lonely",
      "final_ckpt.safetensors",
      named(all, (name) => `model.${name}`),
      {},
    );
    expect(() => loadSpm(at("lonely", "final_ckpt.safetensors"))).toThrow(/no config\.json beside it/);
  });
});
