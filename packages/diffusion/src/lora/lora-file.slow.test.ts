import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Conv2d,
  type DType,
  Generator,
  Linear,
  liveTensors,
  noGrad,
  onWarning,
  openSafetensors,
  randn,
  scope,
  type Tensor,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { ldmUnetNames, renamed } from "../layouts/ldm-unet-names.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { type TinyFamily, tinyModels } from "../models/tiny-models.fixture.js";
import { refusal } from "../refusal.fixture.js";
import { addLora } from "./lora.js";
import { applyAdapter, disposeAdapter, type LoraAdapter } from "./lora-adapter.js";
import { isLora, LoraStack, loadLora, readLora, saveLora, writeLora } from "./lora-file.js";

const folder = mkdtempSync(join(tmpdir(), "lora-"));
afterAll(() => rmSync(folder, { recursive: true }));

const FAMILIES: readonly TinyFamily[] = ["sd15", "sdxl"];
/** A family's tiny models, or some of them. */
type Models = Pick<ReturnType<typeof tinyModels>, "unet"> & PipelineModels;

const LAYOUTS = ["kohya", "peft", "diffusers"] as const;
const MODELS = { sd15: tinyModels("sd15"), sdxl: tinyModels("sdxl") };

/** Every layer of the models that can have an adapter, with its weight's shape. */
function adaptable(parts: Models): [layer: string, shape: readonly number[]][] {
  return (["unet", "text_encoder", "text_encoder_2"] as const).flatMap((part) =>
    [...(parts[part]?.modules() ?? [])].flatMap(([name, module]): [string, readonly number[]][] =>
      module instanceof Linear || module instanceof Conv2d ? [[`${part}.${name}`, module.weight.shape]] : [],
    ),
  );
}

interface Chosen {
  layer: string;
  shape: readonly number[];
  rank: number;
  alpha: number;
}

function adapter(chosen: readonly Chosen[], seed = 1, dtype: DType = "float32"): LoraAdapter {
  const generator = new Generator(seed);
  const draw = (shape: readonly number[]): Tensor => randn(shape, { generator }).to({ dtype });
  return new Map(
    chosen.map(({ layer, shape: [outputs, ...inputs], rank, alpha }) => [
      layer,
      {
        down: draw([rank, ...inputs]),
        up: draw(inputs.length > 1 ? [outputs as number, rank, 1, 1] : [outputs as number, rank]),
        alpha,
      },
    ]),
  );
}

const bits = (found: LoraAdapter): unknown =>
  Object.fromEntries(
    [...found]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([layer, { down, up, alpha }]) => [
        layer,
        {
          alpha,
          down: [down.dtype, down.shape, down.toTypedArray()],
          up: [up.dtype, up.shape, up.toTypedArray()],
        },
      ]),
  );

/** Some layers of a family, each with a rank and an alpha of its own. */
const choices = (family: TinyFamily) =>
  fc.subarray(adaptable(MODELS[family]), { minLength: 1, maxLength: 12 }).chain((layers) =>
    fc.tuple(
      ...layers.map(([layer, shape]) =>
        fc.record({
          layer: fc.constant(layer),
          shape: fc.constant(shape),
          rank: fc.integer({ min: 1, max: 4 }),
          alpha: fc.constantFrom(0.5, 1, 2, 3, 4, 16),
        }),
      ),
    ),
  );

/** What a UNet gives for fixed inputs. */
function output(parts: Models): Tensor {
  return noGrad(() =>
    scope(() => {
      const generator = new Generator(5);
      const { cross_attention_dim: width, projection_class_embeddings_input_dim: pooled } = parts.unet.config;
      return parts.unet.forward(randn([2, 4, 8, 8], { generator }), 251, {
        context: randn([2, 5, width as number], { generator }),
        ...(pooled && { textEmbeds: randn([2, pooled - 24], { generator }), timeIds: zeros([2, 6]) }),
      });
    }),
  );
}

const largest = (x: Tensor): number => scope(() => x.abs().max().item());

const distance = (a: Tensor, b: Tensor): number => scope(() => a.sub(b).abs().max().item());

describe.each(FAMILIES)("LoRA files of %s", (family) => {
  const parts = MODELS[family];

  for (const first of LAYOUTS) {
    for (const second of LAYOUTS) {
      test(`any adapter written as ${first}, read, written as ${second} and read has its first bits`, () => {
        fc.assert(
          fc.property(
            choices(family),
            fc.constantFrom<DType>("float32", "float16", "bfloat16"),
            (chosen, dtype) => {
              scope(() => {
                const made = adapter(chosen, 3, dtype);
                const [one, two] = [join(folder, "one.safetensors"), join(folder, "two.safetensors")];
                writeLora(one, made, parts, { layout: first });
                writeLora(two, readLora(one, parts).adapter, parts, { layout: second });
                const read = readLora(two, parts);
                expect(read.layout).toBe(second);
                expect(bits(read.adapter)).toEqual(bits(made));
              });
            },
          ),
          { numRuns: 5 },
        );
      });
    }
  }

  test("an adapter on every linear map and convolution gives what its sum with the weights gives", () => {
    scope(() => {
      const chosen = adaptable({ unet: parts.unet }).map(([layer, shape]) => ({
        layer,
        shape,
        rank: 2,
        alpha: 0.2,
      }));
      const base = output(parts);
      const loras = applyAdapter(parts, adapter(chosen));
      const lora = loras.unet!;
      lora.scale = 0.5;
      const on = output(parts);
      const merged = lora.merged(() => output(parts));
      expect(distance(on, base)).toBeGreaterThan(0.01);
      expect(distance(on, merged)).toBeLessThan(2e-5 * Math.max(1, largest(merged)));
      lora.remove();
      expect(distance(output(parts), base)).toBe(0);
    });
  });

  test("alpha and scale multiply the change of the weights", () => {
    scope(() => {
      const [layer, shape] = adaptable({ unet: parts.unet }).find(([name]) => name.endsWith("attn1.to_q"))!;
      const delta = (alpha: number, scale: number): Tensor => {
        const lora = applyAdapter(parts, adapter([{ layer, shape, rank: 4, alpha }])).unet!;
        lora.scale = scale;
        const change = noGrad(() => [...lora.layers.values()][0]!.delta());
        lora.remove();
        return change;
      };
      expect(distance(delta(2, 1), delta(4, 0.5))).toBe(0);
      expect(distance(delta(4, 1), delta(1, 1).mul(4))).toBe(0);
    });
  });

  test("the adapter's hash in the metadata is that of the bytes behind the header, and all values are strings", () => {
    scope(() => {
      const path = join(folder, "hash.safetensors");
      const [layer, shape] = adaptable(parts)[0]!;
      writeLora(path, adapter([{ layer, shape, rank: 2, alpha: 1 }]), parts, {
        description: { title: "A title", triggerPhrase: "a word", date: new Date(0) },
        metadata: { "spo.steps": "10" },
      });
      const bytes = readFileSync(path);
      const start = 8 + Number(bytes.readBigUInt64LE());
      using file = openSafetensors(path);
      expect(file.metadata).toMatchObject({
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture":
          family === "sdxl" ? "stable-diffusion-xl-v1-base/lora" : "stable-diffusion-v1/lora",
        "modelspec.title": "A title",
        "modelspec.trigger_phrase": "a word",
        "modelspec.date": "1970-01-01T00:00:00",
        "modelspec.resolution": family === "sdxl" ? "1024x1024" : "512x512",
        "modelspec.hash_sha256": `0x${createHash("sha256").update(bytes.subarray(start)).digest("hex")}`,
        ss_network_module: "networks.lora",
        ss_network_dim: "2",
        ss_network_alpha: "1",
        "spo.steps": "10",
      });
    });
  });
});

describe("several adapters", () => {
  const parts = MODELS.sd15;
  const paths = [1, 2].map((seed) => {
    const path = join(folder, `stack-${seed}.safetensors`);
    const chosen = adaptable(parts)
      .filter((_, i) => i % (seed + 1) === 0)
      .map(([layer, shape]) => ({ layer, shape, rank: 2, alpha: 0.3 }));
    scope(() => writeLora(path, adapter(chosen, seed), parts, { layout: seed === 1 ? "kohya" : "peft" }));
    return path;
  });
  const files = [
    { path: paths[0]!, weight: 0.8 },
    { path: paths[1]!, weight: -0.5 },
  ];

  test("with weights change the output as the sum of their changes of the weights does, and leave no bit behind", () => {
    scope(() => {
      const base = output(parts);
      const before = liveTensors();
      const stack = new LoraStack(parts, files);
      const on = output(parts);
      const merged = stack.merged(() => output(parts));
      expect(distance(on, base)).toBeGreaterThan(0.01);
      expect(distance(on, merged)).toBeLessThan(2e-5 * Math.max(1, largest(merged)));
      on.dispose();
      merged.dispose();
      stack.remove();
      expect(liveTensors()).toBe(before);
      expect(distance(output(parts), base)).toBe(0);
    });
  });

  test("can be fused: the models are plain ones with the merged output", () => {
    scope(() => {
      const fused = tinyModels("sd15");
      const stack = new LoraStack(fused, files);
      const merged = stack.merged(() => output(fused));
      stack.fuse();
      expect(distance(output(fused), merged)).toBeLessThan(1e-5);
      expect([...fused.unet.namedParameters().keys()]).toEqual([...parts.unet.namedParameters().keys()]);
    });
  });

  test("come out only in the opposite order", () => {
    scope(() => {
      const [first, second] = [1, 2].map((seed) => addLora(parts.unet, { rank: 2 }, new Generator(seed)));
      expect(() => first!.remove()).toThrow(/remove that first/);
      first!.merge();
      second!.merge();
      expect(() => first!.unmerge()).toThrow(/unmerge that first/);
      second!.unmerge();
      first!.unmerge();
      second!.remove();
      first!.remove();
    });
  });

  test("that do not all fit leave the models as they were", () => {
    scope(() => {
      const wrong = join(folder, "wrong.safetensors");
      const lora = addLora(MODELS.sdxl.unet, { rank: 2 }, new Generator(1));
      saveLora(wrong, lora, MODELS.sdxl.unet, { layout: "peft" });
      lora.remove();
      const base = output(parts);
      const text = refusal(() => new LoraStack(parts, [files[0]!, { path: wrong }]));
      expect(text).toMatch(
        /is a LoRA for a model whose text is 20 wide \(its metadata says stable-diffusion-[^)]*\); this one is a model whose text is 12 wide/,
      );
      expect(distance(output(parts), base)).toBe(0);
    });
  });
});

describe("names of published files", () => {
  const parts = MODELS.sd15;
  const module = "down_blocks.0.attentions.0.transformer_blocks.0.attn1";
  const write = (tensors: Record<string, Tensor>, metadata: Record<string, string> = {}): string => {
    const path = join(folder, "published.safetensors");
    writeSafetensors(path, tensors, metadata);
    return path;
  };

  test.each([
    [
      "diffusers before 0.22",
      `unet.${module}.processor.to_out_lora`,
      ".down.weight",
      ".up.weight",
      "to_out.0",
    ],
    ["attention processors alone", `${module}.processor.to_q_lora`, ".down.weight", ".up.weight", "to_q"],
    ["peft's own file", `base_model.model.${module}.to_q`, ".lora_A.weight", ".lora_B.weight", "to_q"],
    [
      "peft with the adapter's name",
      `unet.${module}.to_q`,
      ".lora_A.default.weight",
      ".lora_B.default.weight",
      "to_q",
    ],
  ])("%s", (_, name, down, up, layer) => {
    scope(() => {
      const path = write({ [name + down]: zeros([2, 8]), [name + up]: zeros([8, 2]) });
      expect([...readLora(path, parts).adapter.keys()]).toEqual([`unet.${module}.${layer}`]);
    });
  });

  test("a text encoder's names are read with and without text_model., and in kohya's form", () => {
    scope(() => {
      const tensors = { down: zeros([2, 12]), up: zeros([12, 2]) };
      for (const name of ["text_encoder.encoder.layers.1.self_attn.q_proj.lora_linear_layer", "lora_te"]) {
        const kohya = name === "lora_te";
        const path = write(
          kohya
            ? {
                "lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_down.weight": tensors.down,
                "lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_up.weight": tensors.up,
              }
            : { [`${name}.down.weight`]: tensors.down, [`${name}.up.weight`]: tensors.up },
        );
        expect([...readLora(path, parts).adapter.keys()]).toEqual([
          "text_encoder.text_model.encoder.layers.1.self_attn.q_proj",
        ]);
      }
    });
  });

  test("kohya's SDXL files are read under the original and under diffusers' block names alike", () => {
    scope(() => {
      for (const name of [
        "lora_unet_input_blocks_3_1_proj_in",
        "lora_unet_down_blocks_1_attentions_0_proj_in",
      ]) {
        const path = write({
          [`${name}.lora_down.weight`]: zeros([2, 12]),
          [`${name}.lora_up.weight`]: zeros([12, 2]),
        });
        expect([...readLora(path, MODELS.sdxl).adapter.keys()]).toEqual([
          "unet.down_blocks.1.attentions.0.proj_in",
        ]);
      }
    });
  });

  test("a 1×1 convolution's adapter fits with and without its kernel sizes", () => {
    scope(() => {
      const name = "unet.down_blocks.0.attentions.0.proj_in";
      for (const kernel of [[], [1, 1]]) {
        const path = write({
          [`${name}.lora_A.weight`]: zeros([2, 8, ...kernel]),
          [`${name}.lora_B.weight`]: zeros([8, 2, ...kernel]),
        });
        loadLora(parts.unet, path).remove();
      }
    });
  });

  test("peft's rank_pattern and alpha_pattern are expressions, and a rank that disagrees is a fault", () => {
    scope(() => {
      const path = write({
        [`base_model.model.${module}.to_q.lora_A.weight`]: zeros([4, 8]),
        [`base_model.model.${module}.to_q.lora_B.weight`]: zeros([8, 4]),
        [`base_model.model.${module}.to_v.lora_A.weight`]: zeros([2, 8]),
        [`base_model.model.${module}.to_v.lora_B.weight`]: zeros([8, 2]),
      });
      const config = join(folder, "adapter_config.json");
      const settings = { r: 2, lora_alpha: 6, rank_pattern: { "down_blocks\\.\\d\\..*to_q": 4 } };
      const read = (more: object) => {
        writeFileSync(config, JSON.stringify({ ...settings, ...more }));
        try {
          return readLora(path, parts).adapter;
        } finally {
          rmSync(config);
        }
      };
      const patterns = { alpha_pattern: { "^down_blocks\\..*to_(q|k)": 32 } };
      expect([...read(patterns).values()].map(({ alpha }) => alpha).sort()).toEqual([32, 6]);
      expect([...read({ ...patterns, use_rslora: true }).values()].map(({ alpha }) => alpha).sort()).toEqual([
        32 * Math.sqrt(4),
        6 * Math.sqrt(2),
      ]);
      expect(refusal(() => read({ rank_pattern: {} }))).toMatch(/rank 4, but 2 by the file's settings/);
    });
  });

  test("the alpha of peft's adapter_config.json is honoured", () => {
    scope(() => {
      const path = write({
        [`base_model.model.${module}.to_q.lora_A.weight`]: zeros([2, 8]),
        [`base_model.model.${module}.to_q.lora_B.weight`]: zeros([8, 2]),
        [`base_model.model.${module}.to_k.lora_A.weight`]: zeros([2, 8]),
        [`base_model.model.${module}.to_k.lora_B.weight`]: zeros([8, 2]),
      });
      const config = join(folder, "adapter_config.json");
      writeFileSync(config, JSON.stringify({ r: 2, lora_alpha: 6, alpha_pattern: { to_k: 3 } }));
      const { adapter: read } = readLora(path, parts);
      rmSync(config);
      expect([...read.values()].map(({ alpha }) => alpha).sort()).toEqual([3, 6]);
    });
  });
});

describe("LoRA files that are refused", () => {
  const parts = MODELS.sd15;
  const q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
  const refusalOf = (tensors: Record<string, Tensor>): string => {
    const path = join(folder, "refused.safetensors");
    writeSafetensors(path, tensors);
    return refusal(() => loadLora(parts.unet, path));
  };

  test.each([
    [`${q}.dora_scale`, /DoRA .*1 entries, such as/],
    [`${q}.hada_w1_a`, /LoHa/],
    [`${q}.lokr_w1`, /LoKr/],
    [`${q}.lora_mid.weight`, /third matrix/],
    [`${q}.diff`, /whole differences/],
    [`${q}.oft_blocks`, /OFT/],
    ["base_model.model.conv_in.weight", /whole weights beside LoRA/],
    ["base_model.model.mid_block.attentions.0.proj_in.lora_B.bias", /biases/],
    ["unet.mid_block.attentions.0.proj_in.lora_magnitude_vector", /DoRA/],
  ])("have %s of another method, which one sentence names", (name, method) => {
    scope(() => {
      const text = refusalOf({
        [`${q}.lora_down.weight`]: zeros([2, 8]),
        [`${q}.lora_up.weight`]: zeros([8, 2]),
        [name]: zeros([8, 1]),
      });
      expect(text).toMatch(method);
      expect(text.split("\n")[0]).toMatch(/is not plain LoRA/);
    });
  });

  test("have a matrix without its other, or two of different ranks", () => {
    scope(() => {
      expect(refusalOf({ [`${q}.lora_down.weight`]: zeros([2, 8]) })).toMatch(/without its up matrix/);
      expect(
        refusalOf({ [`${q}.lora_down.weight`]: zeros([2, 8]), [`${q}.lora_up.weight`]: zeros([8, 3]) }),
      ).toMatch(/rank 2, but its up matrix has 3/);
    });
  });

  test("have shapes of another model, and all are listed", () => {
    scope(() => {
      const k = q.replace("to_q", "to_k");
      const text = refusalOf({
        [`${q}.lora_down.weight`]: zeros([2, 9]),
        [`${q}.lora_up.weight`]: zeros([8, 2]),
        [`${k}.lora_down.weight`]: zeros([2, 8]),
        [`${k}.lora_up.weight`]: zeros([7, 2]),
      });
      expect(text).toMatch(/2 of 2 layers/);
      expect(text).toMatch(/attn1\.to_q +file \[2,9\] and \[8,2\], model \[2,8\] and \[8,2\]/);
    });
  });

  test("are no LoRA at all", () => {
    scope(() => expect(refusalOf({ "model.diffusion_model.out.2.bias": zeros([4]) })).toMatch(/is no LoRA/));
  });

  test("are of another family, which one sentence says, whatever the layout", () => {
    scope(() => {
      for (const [own, other] of [
        ["sd15", "sdxl"],
        ["sdxl", "sd15"],
      ] as const) {
        for (const layout of LAYOUTS) {
          const path = join(folder, "other.safetensors");
          const lora = addLora(MODELS[other].unet, { rank: 2 }, new Generator(1));
          saveLora(path, lora, MODELS[other].unet, { layout });
          lora.remove();
          const text = refusal(() => loadLora(MODELS[own].unet, path));
          expect(text).toMatch(
            /other\.safetensors is a LoRA for a model whose text is \d+ wide \(its metadata says stable-diffusion-[^)]*\); this one is/,
          );
          expect(text.split("\n").length).toBeLessThanOrEqual(2);
        }
      }
    });
  });

  test.each([
    ["FLUX", "lora_unet_double_blocks_0_img_attn_proj", /FLUX/],
    ["Stable Diffusion 3", "transformer.transformer_blocks.0.attn.to_q", /Stable Diffusion 3/],
    [
      "Stable Diffusion 2",
      "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k",
      /Stable Diffusion 2\.x/,
    ],
    ["SDXL", "lora_te2_text_model_encoder_layers_0_mlp_fc1", /SDXL/],
    ["a model that is not known", "lora_unet_something_0_else", /another model \(its metadata says sd_v9\)/],
  ])("are of %s, which one sentence says though some layers fit", (_, layer, message) => {
    scope(() => {
      const path = join(folder, "origin.safetensors");
      const te = "lora_te1_text_model_encoder_layers_1_self_attn_q_proj";
      writeSafetensors(
        path,
        {
          [`${layer}.lora_down.weight`]: zeros([2, 1024]),
          [`${layer}.lora_up.weight`]: zeros([8, 2]),
          [`${te}.lora_down.weight`]: zeros([2, 12]),
          [`${te}.lora_up.weight`]: zeros([12, 2]),
        },
        { ss_base_model_version: "sd_v9" },
      );
      expect(refusal(() => readLora(path, parts))).toMatch(message);
    });
  });

  test("say an alpha that is no number", () => {
    scope(() => {
      const pair = { [`${q}.lora_down.weight`]: zeros([2, 8]), [`${q}.lora_up.weight`]: zeros([8, 2]) };
      expect(refusalOf({ ...pair, [`${q}.alpha`]: zeros([]).fill_(Number.NaN) })).toMatch(/alpha is NaN/);
      expect(refusalOf({ ...pair, [`${q}.alpha`]: zeros([2]) })).toMatch(/alpha is one number/);
    });
  });
});

describe("a LoRA of the same matrices under other names", () => {
  /** Every spelling: prefixes of the UNet and the text encoders, the parts' names, and the ends of the matrices' names. */
  const SPELLINGS: readonly { name: string; rename: (layer: string, piece: "down" | "up") => string }[] = [
    ...(["lora_te_", "lora_te1_"] as const).map((te) => ({
      name: `kohya with ${te}`,
      rename: (layer: string, piece: "down" | "up") =>
        `${layer
          .replace(/^unet\./, "lora_unet_")
          .replace(/^text_encoder\./, te)
          .replace(/^text_encoder_2\./, "lora_te2_")
          .replaceAll(".", "_")}.lora_${piece}.weight`,
    })),
    ...[
      ["", "text_encoder."],
      ["unet.", "text_encoder."],
      ["diffusion_model.", "text_encoders.clip_l.transformer."],
      ["model.diffusion_model.", "clip_l.transformer."],
      ["diffusion_model.", "clip_l."],
      ["base_model.model.unet.", "base_model.model.text_encoder."],
    ].flatMap(([unet, text]) =>
      [
        (piece: string) => `.lora_${piece}.weight`,
        (piece: string) => `.lora.${piece}.weight`,
        (piece: string) => `.lora_linear_layer.${piece}.weight`,
        (piece: string) => `.lora_${piece === "down" ? "A" : "B"}.weight`,
        (piece: string) => `.lora_${piece === "down" ? "A" : "B"}.default.weight`,
      ].map((end) => ({
        name: `${unet || "no prefix"}, ${text}, ${end("down")}`,
        rename: (layer: string, piece: "down" | "up") =>
          layer
            .replace(/^unet\./, unet as string)
            .replace(/^text_encoder\./, text as string)
            .replace(
              /^text_encoder_2\./,
              (text as string).replace("clip_l", "clip_g").replace("encoder.", "encoder_2."),
            ) + end(piece),
      })),
    ),
  ];

  for (const family of FAMILIES) {
    const parts = MODELS[family];
    const original = new Map(ldmUnetNames(parts.unet.config));
    test.each(SPELLINGS)(`of ${family} gives the same adapter: $name`, ({ rename }) => {
      scope(() => {
        const chosen = adaptable(parts)
          .filter(([layer]) => layer !== "text_encoder_2.text_projection")
          .map(([layer, shape]) => ({ layer, shape, rank: 2, alpha: 2 }));
        const made = adapter(chosen);
        const inLdm = (layer: string): string =>
          layer.startsWith("unet.") ? `unet.${renamed(layer.slice(5), original) ?? layer.slice(5)}` : layer;
        const bare = (layer: string): string => layer.replace(".text_model.", ".");
        const path = join(folder, "spelling.safetensors");
        for (const spelled of [(layer: string) => layer, inLdm, bare]) {
          // With `_` for dots text_model. is part of every published name.
          if (spelled === bare && rename("unet.a", "down").startsWith("lora_unet")) continue;
          const tensors = [...made].flatMap(([layer, { down, up }]): [string, Tensor][] => [
            [rename(spelled(layer), "down"), down],
            [rename(spelled(layer), "up"), up],
          ]);
          writeSafetensors(path, new Map(tensors));
          expect(bits(readLora(path, parts).adapter)).toEqual(bits(made));
        }
      });
    });
  }

  test("before diffusers 0.22 has attention processors with to_out for to_out.0", () => {
    scope(() => {
      const { unet } = MODELS.sd15;
      const chosen = adaptable({ unet })
        .filter(([layer]) => /attn\d\.to_(q|k|v|out\.0)$/.test(layer))
        .map(([layer, shape]) => ({ layer, shape, rank: 2, alpha: 2 }));
      const made = adapter(chosen);
      const path = join(folder, "processor.safetensors");
      for (const prefix of ["unet.", ""]) {
        const old = (layer: string): string =>
          layer.replace("unet.", prefix).replace(/(attn\d)\.(to_\w+)(\.0)?$/, "$1.processor.$2_lora");
        const tensors = [...made].flatMap(([layer, { down, up }]): [string, Tensor][] => [
          [`${old(layer)}.down.weight`, down],
          [`${old(layer)}.up.weight`, up],
        ]);
        writeSafetensors(path, new Map(tensors));
        expect(bits(readLora(path, { unet }).adapter)).toEqual(bits(made));
      }
    });
  });
});

describe("what a LoRA file has besides", () => {
  const parts = MODELS.sd15;
  const pair = (layer: string): [string, Tensor][] => [
    [`${layer}.lora_down.weight`, zeros([2, 8])],
    [`${layer}.lora_up.weight`, zeros([8, 2])],
  ];
  const q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
  const heardOf = (more: readonly [string, Tensor][]): { layers: string[]; heard: string[] } => {
    const path = join(folder, "besides.safetensors");
    writeSafetensors(path, new Map([...pair(q), ...more]));
    const heard: string[] = [];
    const stop = onWarning((message) => heard.push(message));
    try {
      return { layers: [...readLora(path, parts).adapter.keys()], heard };
    } finally {
      stop();
    }
  };
  const layers = ["unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"];

  test("layers that the model lacks and entries that are none are named in one warning", () => {
    scope(() => {
      const found = heardOf([...pair("lora_unet_no_such_layer"), ["something.else", zeros([1])]]);
      expect(found.layers).toEqual(layers);
      expect(found.heard).toHaveLength(1);
      expect(found.heard[0]).toMatch(
        /3 entries are not used.*lora_unet_no_such_layer\.lora_down.*something\.else/,
      );
    });
  });

  test("an embedding is named in a warning, and the LoRA is read", () => {
    scope(() => {
      const found = heardOf([
        ["bundle_emb.my.word.string_to_param.*", zeros([2, 12])],
        ["bundle_emb.other.clip_l", zeros([2, 12])],
      ]);
      expect(found.layers).toEqual(layers);
      expect(found.heard).toEqual([
        expect.stringMatching(/embedding my\.word, other, which is not supported/),
      ]);
    });
  });

  test("nothing besides is no warning", () => {
    scope(() => expect(heardOf([])).toEqual({ layers, heard: [] }));
  });
});

test("reading and applying an adapter leaves only its own tensors alive", () => {
  const path = join(folder, "live.safetensors");
  const { unet } = MODELS.sd15;
  scope(() => {
    const lora = addLora(unet, { rank: 2 }, new Generator(1));
    saveLora(path, lora, unet);
    lora.remove();
  });
  const before = liveTensors();
  const lora = loadLora(unet, path);
  expect(liveTensors()).toBe(before + 2 * lora.layers.size);
  lora.remove();
  expect(liveTensors()).toBe(before);
  const { adapter: read } = readLora(path, { unet });
  disposeAdapter(read);
  expect(liveTensors()).toBe(before);
});

test("a path that is a link to itself is no LoRA, in words", () => {
  const circle = join(folder, "circle.safetensors");
  symlinkSync("circle.safetensors", circle);
  expect(refusal(() => isLora(circle))).toMatch(/circle\.safetensors cannot be read/);
  expect(refusal(() => readLora(circle, tinyModels("sd15")))).toMatch(/circle\.safetensors cannot be read/);
});
