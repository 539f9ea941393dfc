import { cpSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  cat,
  type Device,
  type DType,
  type Generator,
  noGrad,
  randn,
  scope,
  type Tensor,
  UserError,
  writeFileAtomic,
} from "@spo/torch";
import type { AutoencoderKL } from "./autoencoder-kl.js";
import type { CLIPTextModel } from "./clip-text.js";
import { type ClipTokenizer, loadTokenizer } from "./clip-tokenizer.js";
import { readJson } from "./config.js";
import { ddimStep, epsFromV } from "./ddim.js";
import { guide } from "./guidance.js";
import { loadTextEncoder, loadUnet, loadVae, saveModel } from "./model-folder.js";
import { NoiseSchedule, type SchedulerConfig } from "./noise-schedule.js";
import type { UNet2DConditionModel } from "./unet-2d-condition.js";

export interface StableDiffusionParts {
  /** Folder that the tokenizer came from; its files are copied when the pipeline is saved. */
  tokenizerFolder: string;
  tokenizer: ClipTokenizer;
  textEncoder: CLIPTextModel;
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  schedulerConfig?: SchedulerConfig;
}

/** A Stable Diffusion 1.x model: text to context, context to latents, latents to pixels. */
export class StableDiffusion {
  readonly tokenizer: ClipTokenizer;
  readonly textEncoder: CLIPTextModel;
  readonly unet: UNet2DConditionModel;
  readonly vae: AutoencoderKL;
  readonly schedule: NoiseSchedule;
  readonly #parts: StableDiffusionParts;

  constructor(parts: StableDiffusionParts) {
    this.#parts = parts;
    this.tokenizer = parts.tokenizer;
    this.textEncoder = parts.textEncoder;
    this.unet = parts.unet;
    this.vae = parts.vae;
    this.schedule = new NoiseSchedule(parts.schedulerConfig);
  }

  /**
   * Loads a folder in diffusers layout. The text encoder and VAE come in float32, the UNet in `dtype`.
   *
   * Throws UserErrors for what is missing, damaged, or of a family that is not supported.
   */
  static load(
    folder: string,
    { dtype = "float32", device }: { dtype?: DType; device?: Device } = {},
  ): StableDiffusion {
    if (!existsSync(folder)) {
      throw new UserError(`There is no model folder ${folder}.`, {
        code: "DATA",
        hint: "Give a folder in diffusers layout.",
      });
    }
    const index = readJson(join(folder, "model_index.json")) as { _class_name?: string };
    if (index._class_name !== "StableDiffusionPipeline") {
      throw new UserError(
        `${folder} is a ${index._class_name ?? "model without _class_name"}; only StableDiffusionPipeline is supported.`,
        {
          code: "DATA",
        },
      );
    }
    return new StableDiffusion({
      tokenizerFolder: join(folder, "tokenizer"),
      tokenizer: loadTokenizer(join(folder, "tokenizer")),
      textEncoder: loadTextEncoder(join(folder, "text_encoder"), { device }),
      unet: loadUnet(join(folder, "unet"), { dtype, device }),
      vae: loadVae(join(folder, "vae"), { device }),
      schedulerConfig: readJson(join(folder, "scheduler", "scheduler_config.json")) as SchedulerConfig,
    });
  }

  /** Writes the folder that `load` reads and diffusers' `from_pretrained` too. */
  save(folder: string, { dtype }: { dtype?: DType } = {}): void {
    mkdirSync(join(folder, "scheduler"), { recursive: true });
    saveModel(join(folder, "vae"), this.vae, { dtype });
    saveModel(join(folder, "unet"), this.unet, { dtype });
    saveModel(join(folder, "text_encoder"), this.textEncoder, { dtype });
    const target = join(folder, "tokenizer");
    if (this.#parts.tokenizerFolder !== target)
      cpSync(this.#parts.tokenizerFolder, target, { recursive: true });
    const scheduler = { _class_name: "DDIMScheduler", ...this.schedule.config, clip_sample: false };
    writeFileAtomic(
      join(folder, "scheduler", "scheduler_config.json"),
      `${JSON.stringify(scheduler, null, 2)}\n`,
    );
    const index = {
      _class_name: "StableDiffusionPipeline",
      _diffusers_version: "0.42.1",
      feature_extractor: [null, null],
      image_encoder: [null, null],
      requires_safety_checker: false,
      safety_checker: [null, null],
      scheduler: ["diffusers", "DDIMScheduler"],
      text_encoder: ["transformers", "CLIPTextModel"],
      tokenizer: ["transformers", "CLIPTokenizer"],
      unet: ["diffusers", "UNet2DConditionModel"],
      vae: ["diffusers", "AutoencoderKL"],
    };
    // Last, so that a folder with an index is whole.
    writeFileAtomic(join(folder, "model_index.json"), `${JSON.stringify(index, null, 2)}\n`);
  }

  /** Prompts → context [n, L, d]. */
  encodePrompts(prompts: readonly string[]): Tensor {
    return scope(() => this.textEncoder.forward(this.tokenizer.encodeBatch(prompts)).lastHiddenState);
  }

  /** The same model with another scheduler config: other betas, timesteps or kind of prediction. */
  withScheduler(schedulerConfig: SchedulerConfig): StableDiffusion {
    return new StableDiffusion({ ...this.#parts, schedulerConfig });
  }

  /** The guided output of the UNet for latents [b, c, h, w]; one call over [uncond; cond]. context, uncond [b, L, d]. */
  predictOutput(
    xt: Tensor,
    timestep: number,
    { context, uncond, guidanceScale }: { context: Tensor; uncond: Tensor; guidanceScale: number },
  ): Tensor {
    return guidanceScale === 1
      ? this.unet.forward(xt, timestep, context)
      : scope(() => guide(this.unet.forward(cat([xt, xt]), timestep, cat([uncond, context])), guidanceScale));
  }

  /** ε of an output, which is ε itself or v. */
  epsOf(xt: Tensor, output: Tensor, timestep: number): Tensor {
    return this.schedule.config.prediction_type === "v_prediction"
      ? epsFromV(xt, output, this.schedule.alphaBar(timestep))
      : output;
  }
}

export interface SampleOptions {
  prompts: readonly string[];
  /** One for each prompt: an image is the same whatever else is in its batch. */
  generators: readonly Generator[];
  /** Size of the latents. Default: the UNet's sample_size. */
  latentSize?: readonly [height: number, width: number];
  negativePrompt?: string;
  steps?: number;
  guidanceScale?: number;
  /** 0: deterministic DDIM; 1: as much noise as DDPM. */
  eta?: number;
  onStep?: (step: number, steps: number) => void;
}

/** Text to scaled latents [n, c, h, w] by DDIM. Decode them with `pipe.vae.decodeLatents`. */
export function sampleLatents(pipe: StableDiffusion, options: SampleOptions): Tensor {
  const {
    prompts,
    generators,
    negativePrompt = "",
    steps = 20,
    guidanceScale = 7.5,
    eta = 0,
    onStep,
  } = options;
  if (generators.length !== prompts.length)
    throw new RangeError(`${prompts.length} prompts need as many generators, not ${generators.length}`);
  const size = pipe.unet.config.sample_size ?? 64;
  const latentSize =
    options.latentSize ?? (typeof size === "number" ? [size, size] : (size as [number, number]));
  const shape = [1, pipe.unet.config.in_channels, ...latentSize];
  const draw = (): Tensor => scope(() => cat(generators.map((generator) => randn(shape, { generator }))));
  return noGrad(() =>
    scope(() => {
      const context = pipe.encodePrompts(prompts);
      const uncond = pipe.encodePrompts(prompts.map(() => negativePrompt));
      const stride = pipe.schedule.stride(steps);
      let xt = draw();
      for (const [i, t] of pipe.schedule.timesteps(steps).entries()) {
        xt = scope(() => {
          const eps = pipe.epsOf(xt, pipe.predictOutput(xt, t, { context, uncond, guidanceScale }), t);
          const { mean, std } = ddimStep(xt, eps, {
            alphaBar: pipe.schedule.alphaBar(t),
            alphaBarPrev: pipe.schedule.alphaBar(Math.max(t - stride, 0)),
            eta,
          });
          return std === 0 ? mean : mean.add(draw(), { alpha: std });
        });
        onStep?.(i + 1, steps);
      }
      return xt;
    }),
  );
}
