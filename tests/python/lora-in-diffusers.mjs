// @ts-check
// Loads LoRAs that we wrote, in every layout, with diffusers' own load_lora_weights, and compares what the models then give with ours.
//
//   npm run build && node tests/python/lora-in-diffusers.mjs [FIXTURES]
//
// FIXTURES: the folder with tiny-sd15 and tiny-sdxl (../shared/fixtures). Python is SPO_PYTHON, else the one on the PATH that has
// diffusers; without one this says so and ends well.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import {
  applyAdapter,
  loadTextEncoder,
  loadTextEncoderWithProjection,
  loadUnet,
  writeLora,
} from "@spo/diffusion";
import { Conv2d, Generator, Linear, noGrad, randn, scope, tensor, writeSafetensors } from "@spo/torch";
import { findPython } from "../../scripts/bench/python.mjs";

/** @typedef {import("@spo/diffusion").CLIPTextModel} CLIPTextModel */
/**
 * @typedef {{ unet: import("@spo/diffusion").UNet2DConditionModel, text_encoder?: CLIPTextModel, text_encoder_2?: CLIPTextModel }}
 * LoraParts
 */
/** @typedef {import("@spo/torch").Tensor} Tensor */

const here = fileURLToPath(new URL(".", import.meta.url));
const fixtures = resolve(process.argv[2] ?? join(here, "../../../shared/fixtures"));

/** Ranks and alphas. diffusers mixes alphas that differ by layer up in kohya's layout, so those go only into the others. */
const ADAPTERS = [
  { name: "alpha is the rank", rank: () => 4, alpha: () => 4, layouts: ["kohya", "peft", "diffusers"] },
  { name: "alpha 2 of rank 4", rank: () => 4, alpha: () => 2, layouts: ["kohya", "peft", "diffusers"] },
  {
    name: "ranks and alphas by layer",
    rank: (/** @type {number} */ i) => 2 + (i % 3),
    alpha: (/** @type {number} */ i) => 1 + (i % 2),
    layouts: ["peft", "diffusers"],
  },
];

/**
 * Layers that published LoRAs change: attention, feed-forward, projections, convolutions of residual blocks, and all of a text encoder's.
 *
 * @param {LoraParts} parts
 */
function published(parts) {
  const wanted = {
    unet: /(to_[qkv]|to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out|resnets\.\d\.(conv[12]|conv_shortcut|time_emb_proj))$/,
    text_encoder: /(self_attn\.\w+_proj|fc[12])$/,
    text_encoder_2: /(self_attn\.\w+_proj|fc[12])$/,
  };
  return /** @type {(keyof LoraParts)[]} */ (Object.keys(parts)).flatMap((part) =>
    [...(parts[part]?.modules() ?? [])].flatMap(([name, module]) =>
      (module instanceof Linear || module instanceof Conv2d) && wanted[part].test(name)
        ? [{ layer: `${part}.${name}`, shape: module.weight.shape }]
        : [],
    ),
  );
}

/** @param {LoraParts} parts @param {(typeof ADAPTERS)[number]} kind */
function adapterFor(parts, { rank, alpha }) {
  const generator = new Generator(11);
  return new Map(
    published(parts).map(({ layer, shape: [outputs, ...inputs] }, i) => [
      layer,
      {
        down: randn([rank(i), ...inputs], { generator }).mul(0.2),
        up: randn(inputs.length > 1 ? [outputs ?? 0, rank(i), 1, 1] : [outputs ?? 0, rank(i)], {
          generator,
        }).mul(0.2),
        alpha: alpha(i),
      },
    ]),
  );
}

/** @param {LoraParts} parts @param {number} seed */
function inputsFor(parts, seed) {
  const generator = new Generator(seed);
  const { in_channels, cross_attention_dim, projection_class_embeddings_input_dim, addition_time_embed_dim } =
    parts.unet.config;
  const pooled = (projection_class_embeddings_input_dim ?? 0) - 6 * (addition_time_embed_dim ?? 0);
  return {
    sample: randn([2, in_channels, 8, 8], { generator }),
    context: randn([2, 7, /** @type {number} */ (cross_attention_dim)], { generator }),
    ids: tensor([[49406, 320, 1125, 539, 320, 2368, 49407]], { dtype: "int64" }),
    ...(pooled > 0 && {
      text_embeds: randn([2, pooled], { generator }),
      time_ids: tensor([
        [64, 64, 0, 0, 64, 64],
        [64, 64, 0, 0, 64, 64],
      ]),
    }),
  };
}

/** @param {LoraParts} parts @param {ReturnType<typeof inputsFor>} inputs @returns {Record<string, Tensor>} */
function outputs(parts, inputs) {
  const added =
    inputs.text_embeds && inputs.time_ids
      ? { textEmbeds: inputs.text_embeds, timeIds: inputs.time_ids }
      : undefined;
  /** @type {Record<string, Tensor>} */
  const given = { unet: parts.unet.forward(inputs.sample, 501, { context: inputs.context, ...added }) };
  for (const part of /** @type {const} */ (["text_encoder", "text_encoder_2"])) {
    const encoder = parts[part];
    if (encoder) given[part] = encoder.text_model.forward(inputs.ids).lastHiddenState;
  }
  return given;
}

const python = await findPython();
if (!python) {
  console.log("skipped: no Python with torch and diffusers; give one by SPO_PYTHON");
} else if (!existsSync(fixtures)) {
  console.log(`skipped: there is no folder ${fixtures}`);
} else {
  const folder = mkdtempSync(join(tmpdir(), "lora-in-diffusers-"));
  try {
    /** @type {{ model: string, inputs: string, name: string, file: string, scale: number, expected: string }[]} */
    const cases = [];
    for (const family of ["sd15", "sdxl"]) {
      const model = join(fixtures, `tiny-${family}`);
      noGrad(() =>
        scope(() => {
          const second = existsSync(join(model, "text_encoder_2"));
          /** @type {LoraParts} */
          const parts = {
            unet: loadUnet(join(model, "unet")),
            text_encoder: loadTextEncoder(join(model, "text_encoder")),
            ...(second && { text_encoder_2: loadTextEncoderWithProjection(join(model, "text_encoder_2")) }),
          };
          const inputs = inputsFor(parts, 3);
          const inputsFile = join(folder, `${family}-inputs.safetensors`);
          writeSafetensors(inputsFile, inputs);
          for (const [i, kind] of ADAPTERS.entries()) {
            const adapter = adapterFor(parts, kind);
            for (const scale of [1, 0.6]) {
              const loras = Object.values(applyAdapter(parts, adapter));
              for (const lora of loras) lora.scale = scale;
              const expected = join(folder, `${family}-${i}-${scale}-expected.safetensors`);
              writeSafetensors(expected, outputs(parts, inputs));
              for (const lora of loras.toReversed()) lora.remove();
              for (const layout of /** @type {import("@spo/diffusion").LoraLayoutName[]} */ (kind.layouts)) {
                const file = join(folder, `${family}-${i}-${layout}.safetensors`);
                writeLora(file, adapter, parts, { layout });
                const name = `${family}, ${kind.name}, ${layout}, scale ${scale}`;
                cases.push({ model, inputs: inputsFile, name, file, scale, expected });
              }
            }
          }
        }),
      );
    }
    const list = join(folder, "cases.json");
    writeFileSync(list, JSON.stringify(cases));
    const { status } = spawnSync(python, [join(here, "lora_in_diffusers.py"), list], { stdio: "inherit" });
    process.exitCode = status === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
