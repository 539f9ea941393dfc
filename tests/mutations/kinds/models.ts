// The JSON and text of model folders: configs, schedulers, indices, tokenizers; preference models and scorers.
import { join } from "node:path";
import {
  loadTextToImage,
  loadTokenizer,
  makeSampler,
  readJson,
  SAMPLERS,
  type SamplerName,
  type SchedulerConfig,
  sampleLatents,
  type TextToImage,
  VpSchedule,
} from "@spo/diffusion";
import { Generator, noGrad, scope, tensor } from "@spo/torch";
import { loadReward, loadSpm, startSpm } from "spo";
import type { Kind } from "../kind.js";
import { copy, disposeAll } from "./weights.js";

const CONFIG_WORDS = [
  ...[
    "DDIMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "LCMScheduler",
    "FlowMatchEulerDiscreteScheduler",
  ],
  ...[
    "epsilon",
    "v_prediction",
    "sample",
    "leading",
    "trailing",
    "linspace",
    "scaled_linear",
    "linear",
    "squaredcos_cap_v2",
    "karras",
    "use_karras_sigmas",
  ],
  ...[
    "CrossAttnDownBlock2D",
    "DownBlock2D",
    "UpBlock2D",
    "CrossAttnUpBlock2D",
    "AttnDownBlock2D",
    "UNetMidBlock2DCrossAttn",
    "DownEncoderBlock2D",
    "UpDecoderBlock2D",
  ],
  ...[
    "text_time",
    "timestep",
    "silu",
    "gelu",
    "quick_gelu",
    "mish",
    "float16",
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusion3Pipeline",
    "FluxPipeline",
  ],
  ...[
    "clip_sample",
    "thresholding",
    "steps_offset",
    "set_alpha_to_one",
    "rescale_betas_zero_snr",
    "trained_betas",
    "num_train_timesteps",
    "sample_size",
  ],
  ...[
    "latents_mean",
    "latents_std",
    "scaling_factor",
    "shift_factor",
    "force_upcast",
    "class_embed_type",
    "time_cond_proj_dim",
    "addition_embed_type",
  ],
];

const NAMES = Object.keys(SAMPLERS) as SamplerName[];

/** Draws one image in two steps, so that sizes that only meet later do. */
function draw(pipe: TextToImage, sampler: SamplerName): void {
  noGrad(() =>
    scope(() => {
      const latents = sampleLatents(pipe, {
        ...{ prompts: ["a red apple"], generators: [new Generator(1)], sampler, steps: 2 },
        ...{ guidanceScale: 3, eta: 0, latentSize: [8, 8] as const },
      });
      pipe.vae.decodeLatents(latents).sum().item();
    }),
  );
}

const pipeline = (family: "sd15" | "sdxl"): Kind => ({
  name: `configs-${family}`,
  group: "configs",
  changed: /(config|model_index)\.json$/,
  words: CONFIG_WORDS,
  share: 2,
  make: (folder) => copy(folder, `tiny-${family}:model`),
  read(folder, index) {
    const pipe = loadTextToImage(join(folder, "model"));
    try {
      if (index % 8 === 0) draw(pipe, NAMES[Math.abs(index / 8) % NAMES.length] as SamplerName);
      else scope(() => void pipe.tokenize(["a red apple"]));
    } finally {
      disposeAll(pipe);
    }
  },
});

const TOKENIZER_WORDS = [
  ...[
    "<|startoftext|>",
    "<|endoftext|>",
    "!</w>",
    "</w>",
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "model_max_length",
    "added_tokens",
    "normalized",
    "content",
  ],
  ...["#version: 0.2", "a b", "a", "Ġ", "(", "[", ".*", "\\", "$"],
];

const TEXTS = ["a red apple", "Ünïcode Σ 東京 😀 it's 42!", "<|endoftext|> !  ! x".repeat(20), ""];

const scorer = (
  name: string,
  spec: (folder: string) => string,
  files: readonly string[],
  more: Partial<Kind> = {},
): Kind => ({
  name: `scorer-${name}`,
  group: "others",
  words: [
    ...CONFIG_WORDS,
    "visual.conv1.weight",
    "text_projection",
    "blip.visual_encoder.",
    "[DEC]",
    "[ENC]",
    "[PAD]",
    "##a",
  ],
  make: (folder) => copy(folder, ...files),
  async read(folder) {
    const reward = await loadReward(spec(folder));
    try {
      const data = new Uint8Array(3 * 8 * 6).fill(100);
      for (const score of await reward.score([{ data, width: 8, height: 6 }], ["a red apple"]))
        if (typeof score !== "number") throw new Error("no score");
    } finally {
      reward.dispose?.();
    }
  },
  ...more,
});

export const modelKinds: readonly Kind[] = [
  pipeline("sd15"),
  pipeline("sdxl"),
  {
    name: "scheduler",
    group: "configs",
    words: CONFIG_WORDS,
    make: (folder) => copy(folder, "tiny-sd15/scheduler", "tiny-sdxl/scheduler:scheduler_xl"),
    read(folder, index) {
      for (const part of ["scheduler", "scheduler_xl"]) {
        const schedule = new VpSchedule(
          readJson(join(folder, part, "scheduler_config.json")) as SchedulerConfig,
        );
        for (const name of NAMES)
          makeSampler(name, schedule, [1, 2, 5, 20][Math.abs(index) % 4] as number, {});
      }
    },
  },
  {
    name: "configs-spm",
    group: "configs",
    changed: /\.json$/,
    words: [
      ...CONFIG_WORDS,
      "clip",
      "vision_config",
      "text_config",
      "projection_dim",
      "patch_size",
      "image_size",
      "crop_size",
      "image_mean",
    ],
    make: (folder) => copy(folder, "tiny-spm:spm"),
    read(folder) {
      const { spm } = loadSpm(join(folder, "spm"));
      spm.dispose();
    },
  },
  {
    name: "tokenizer",
    group: "tokenizers",
    words: TOKENIZER_WORDS,
    share: 3,
    make: (folder) => copy(folder, "tiny-sd15/tokenizer"),
    read(folder) {
      const tokenizer = loadTokenizer(join(folder, "tokenizer"));
      for (const text of TEXTS) tokenizer.encode(text);
      scope(() => void tokenizer.encodeBatch(TEXTS));
    },
  },
  {
    name: "tokenizer-in-model",
    group: "tokenizers",
    changed: /tokenizer/,
    words: TOKENIZER_WORDS,
    make: (folder) => copy(folder, "tiny-sd15:model"),
    read(folder) {
      const pipe = loadTextToImage(join(folder, "model"));
      try {
        noGrad(() => scope(() => void pipe.encode(TEXTS.slice(0, 2), { size: [64, 64] })));
      } finally {
        disposeAll(pipe);
      }
    },
  },
  {
    name: "spm-weights",
    group: "others",
    changed: /\.safetensors$/,
    words: [
      "model.",
      "t_embedder.",
      "adaLN_modulation.",
      "logit_scale",
      "visual_projection.weight",
      "F16",
      "I64",
    ],
    make: (folder) => copy(folder, "tiny-spm:spm", "rewards/clip"),
    read(folder, index) {
      const { spm, processor } = startSpm(join(folder, index % 2 ? "spm" : "clip"), new Generator(1));
      try {
        noGrad(() =>
          scope(() => {
            const { size } = processor;
            spm.imageFeatures(
              tensor(new Float32Array(3 * size * size), { shape: [1, 3, size, size] }),
              tensor([500]),
            );
          }),
        );
      } finally {
        spm.dispose();
      }
    },
  },
  scorer("clip", (folder) => `clip:${join(folder, "clip")}`, ["rewards/clip"]),
  scorer(
    "aesthetic",
    (folder) => `aesthetic:${join(folder, "aesthetic-head.pth")},clip=${join(folder, "clip")}`,
    ["rewards/clip", "rewards/aesthetic-head.pth"],
    { changed: /pth$/ },
  ),
  scorer(
    "hps",
    (folder) => `hps:${join(folder, "open-clip", "tiny_hps.pt")},tokenizer=${join(folder, "clip")}`,
    ["rewards/clip", "rewards/open-clip"],
    { changed: /open-clip/ },
  ),
];
