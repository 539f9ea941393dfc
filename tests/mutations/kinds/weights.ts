// Weights: safetensors, adapters, shards and checkpoints in one file.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  isLora,
  LoraStack,
  loadSingleFile,
  loadTextToImage,
  loadUnet,
  loraFamily,
  type TextToImage,
} from "@spo/diffusion";
import { openWeights, scope, tensor, UserError, writeSafetensors } from "@spo/torch";
import type { Kind } from "../kind.js";

export const GOLDEN = fileURLToPath(new URL("../../golden/small/", import.meta.url));

/** Copies sources of the golden values; `from:to` gives another name. */
export function copy(folder: string, ...names: readonly string[]): void {
  for (const name of names) {
    const [from = "", to = basename(from)] = name.split(":");
    cpSync(join(GOLDEN, from), join(folder, to), { recursive: true });
  }
}

/** Gives up the models of a pipeline. */
export function disposeAll({ models }: Pick<TextToImage, "models">): void {
  for (const model of Object.values(models)) model?.dispose();
}

/** Looks at every tensor of a file as a loader would. */
export function readTensors(path: string): void {
  const file = openWeights(path);
  try {
    scope(() => {
      for (const name of file.keys()) {
        const { shape, dtype } = file.info(name);
        if (String(shape).length + dtype.length === 0) throw new Error("no shape and no dtype");
      }
      for (const value of file.tensors().values()) value.to({ dtype: "float32" }).sum().item();
    });
  } finally {
    file.close();
  }
}

const SAFETENSORS = [
  ...[
    "F64",
    "F32",
    "F16",
    "BF16",
    "F8_E4M3",
    "F8_E5M2",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "BOOL",
    "F4",
    "C64",
  ],
  ...["__metadata__", "dtype", "shape", "data_offsets", "format", "pt"],
];

const LORA_WORDS = [
  ...SAFETENSORS,
  ...[
    "lora_unet_",
    "lora_te_",
    "lora_te1_",
    "lora_te2_",
    ".alpha",
    ".lora_down.weight",
    ".lora_up.weight",
    ".lora_mid.weight",
  ],
  ...[
    "base_model.model.",
    "unet.",
    ".lora_A.weight",
    ".lora_B.weight",
    "dora_scale",
    "hada_w1_a",
    "lokr_w1",
    "bundle_emb.x.string_to_param.*",
  ],
  ...[
    "alpha_pattern",
    "rank_pattern",
    "lora_alpha",
    "r",
    "use_rslora",
    "target_modules",
    "(a+)+$",
    "^(?:(a|a)*)*b",
    "[",
    "lora_adapter_metadata",
  ],
];

/** A model that adapters are laid over; the same one for all cases. */
let pipe: TextToImage | undefined;

const lora = (layout: "kohya" | "peft" | "diffusers"): Kind => ({
  name: `lora-${layout}`,
  group: "safetensors",
  words: LORA_WORDS,
  make(folder) {
    copy(folder, `lora-sd15-${layout}.safetensors:lora.safetensors`);
    if (layout === "peft")
      writeFileSync(
        join(folder, "adapter_config.json"),
        JSON.stringify({
          peft_type: "LORA",
          r: 2,
          lora_alpha: 4,
          alpha_pattern: { "to_q|to_k": 2 },
          rank_pattern: { "attn1.*": 2 },
          target_modules: ["to_q"],
        }),
      );
  },
  read(folder) {
    const path = join(folder, "lora.safetensors");
    isLora(path);
    try {
      loraFamily(path);
    } catch (error) {
      if (!(error instanceof UserError)) throw error; // the width is a tiny model's
    }
    pipe ??= loadTextToImage(join(GOLDEN, "tiny-sd15"));
    new LoraStack(pipe.models, [{ path }]).remove();
  },
});

export const weightKinds: readonly Kind[] = [
  {
    name: "safetensors",
    group: "safetensors",
    words: SAFETENSORS,
    share: 2,
    make(folder) {
      const all = {
        "a.weight": tensor([
          [1, 2, 3],
          [4, 5, 6],
        ]),
        "a.bias": tensor([0.5, -1]).to({ dtype: "float16" }),
        "b.weight": tensor([1, 2, 3, 4]).to({ dtype: "bfloat16" }),
        positions: tensor([1, 2, 3], { dtype: "int64" }),
        bytes: tensor([1, 2, 3], { dtype: "uint8" }),
        scalar: tensor(7),
        empty: tensor([], { shape: [0, 4] }),
      };
      writeSafetensors(join(folder, "weights.safetensors"), all, { format: "pt", about: "a word" });
    },
    read: (folder) => void readTensors(join(folder, "weights.safetensors")),
  },
  {
    name: "model-weights",
    group: "safetensors",
    changed: /\.safetensors$/,
    words: [...SAFETENSORS, "to_q.weight", "query.weight", "text_model.", "position_ids"],
    make: (folder) => copy(folder, "tiny-sd15:model"),
    read: (folder) => disposeAll(loadTextToImage(join(folder, "model"))),
  },
  {
    name: "shards",
    group: "safetensors",
    changed: /index\.json$|\.safetensors$/,
    words: [
      ...SAFETENSORS,
      "weight_map",
      "metadata",
      "total_size",
      "../config.json",
      "/etc/passwd",
      "..",
      ".",
      "..\\a",
      "config.json",
    ],
    make(folder) {
      copy(folder, "sharded-sd15-unet:unet");
    },
    read: (folder) => void loadUnet(join(folder, "unet")).dispose(),
  },
  lora("kohya"),
  lora("peft"),
  lora("diffusers"),
  {
    name: "single-file",
    group: "safetensors",
    changed: /\.safetensors$/,
    words: [
      ...SAFETENSORS,
      "model.diffusion_model.",
      "first_stage_model.",
      "cond_stage_model.transformer.",
      "conditioner.",
      "v_pred",
      "ztsnr",
      "model_ema.",
    ],
    make(folder) {
      copy(folder, "single-file-sd15.safetensors:model.safetensors", "tiny-sd15:configs");
    },
    read(folder, index) {
      const configs = index % 4 === 0 && index >= 0 ? undefined : join(folder, "configs");
      disposeAll(loadSingleFile(join(folder, "model.safetensors"), { configs }));
    },
  },
];

/** As a folder of another file's contents. */
export const withFile = (folder: string, name: string, bytes: Uint8Array): void => {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), bytes);
};

export const golden = (name: string): Buffer => readFileSync(join(GOLDEN, name));
