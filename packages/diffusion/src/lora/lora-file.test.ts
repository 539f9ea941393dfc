import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Conv2d,
  type DType,
  Generator,
  Linear,
  liveTensors,
  noGrad,
  openSafetensors,
  randn,
  scope,
  type Tensor,
  writeSafetensors,
  zeros,
} from "@spo/torch";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { type TinyFamily, tinyModels } from "../models/tiny-models.fixture.js";
import { refusal } from "../refusal.fixture.js";
import { addLora } from "./lora.js";
import { applyAdapter, disposeAdapter, type LoraAdapter, type LoraParts } from "./lora-adapter.js";
import { LoraStack, loadLora, readLora, saveLora, writeLora } from "./lora-file.js";

const folder = mkdtempSync(join(tmpdir(), "lora-"));
afterAll(() => rmSync(folder, { recursive: true }));

const FAMILIES: readonly TinyFamily[] = ["sd15", "sdxl"];
const LAYOUTS = ["kohya", "peft", "diffusers"] as const;
const MODELS = { sd15: tinyModels("sd15"), sdxl: tinyModels("sdxl") };

/** Every layer of the models that can have an adapter, with its weight's shape. */
function adaptable(parts: LoraParts): [layer: string, shape: readonly number[]][] {
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
function output(parts: LoraParts): Tensor {
  return noGrad(() =>
    scope(() => {
      const generator = new Generator(5);
      const { cross_attention_dim: width, projection_class_embeddings_input_dim: pooled } = parts.unet.config;
      return parts.unet.forward(
        randn([2, 4, 8, 8], { generator }),
        251,
        randn([2, 5, width as number], { generator }),
        pooled
          ? { added: { textEmbeds: randn([2, pooled - 24], { generator }), timeIds: zeros([2, 6]) } }
          : {},
      );
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
      expect(text).toMatch(/does not fit this model/);
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

  test("name every entry that is not understood, with the method that it belongs to", () => {
    scope(() => {
      const text = refusalOf({
        [`${q}.lora_down.weight`]: zeros([2, 8]),
        [`${q}.lora_up.weight`]: zeros([8, 2]),
        [`${q}.dora_scale`]: zeros([8, 1]),
        "lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": zeros([2, 2]),
        "lora_unet_no_such_layer.lora_down.weight": zeros([2, 2]),
      });
      expect(text).toMatch(/3 of 5 entries are not understood \(kohya layout\)/);
      expect(text).toMatch(/dora_scale +DoRA/);
      expect(text).toMatch(/hada_w1_a +LoHa/);
      expect(text).toMatch(/lora_unet_no_such_layer\.lora_down\.weight +no layer of this model/);
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

  test("are of the other family", () => {
    scope(() => {
      const path = join(folder, "other.safetensors");
      const lora = addLora(MODELS.sdxl.unet, { rank: 2 }, new Generator(1));
      saveLora(path, lora, MODELS.sdxl.unet);
      lora.remove();
      expect(refusal(() => loadLora(parts.unet, path))).toMatch(/entries are not understood/);
    });
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
