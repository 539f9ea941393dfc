// The models of a job by their configs alone.
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  AutoencoderKL,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  type PipelineConfigs,
  PUBLISHED,
  readJson,
  UNet2DConditionModel,
} from "@spo/diffusion";
import {
  type Device,
  type DType,
  Generator,
  initialize,
  type Module,
  type Tensor,
  UserError,
  zeros,
} from "@spo/torch";
import { type SpmConfigInput, StepAwarePreferenceModel, VIT_H } from "../spm/spm.js";

/** Models with shapes and no values, until `giveValues`. */
export interface PlannedModels {
  texts: CLIPTextModel[];
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  spm?: StepAwarePreferenceModel;
  /** Height and width of the latents that the model was made for. */
  latentSize: readonly [number, number];
  device: Device;
}

/**
 * The configs of a pipeline: of a known architecture (`sd15`, `sdxl`), or of a folder in diffusers layout, whose weights need not be there.
 *
 * Throws a UserError (`DATA`) when it is neither.
 */
export function pipelineConfigs(model: string): PipelineConfigs {
  if (Object.hasOwn(PUBLISHED, model)) return PUBLISHED[model as keyof typeof PUBLISHED];
  const part = (name: string): unknown => readJson(join(model, name, "config.json"));
  if (!existsSync(join(model, "unet", "config.json"))) {
    throw new UserError(`${model} is neither a folder with unet/config.json nor a known architecture.`, {
      code: "DATA",
      hint: `Known by name: ${Object.keys(PUBLISHED).join(", ")}.`,
    });
  }
  const second = existsSync(join(model, "text_encoder_2", "config.json"));
  return {
    unet: part("unet"),
    vae: part("vae"),
    text_encoder: part("text_encoder"),
    ...(second ? { text_encoder_2: part("text_encoder_2") } : {}),
    scheduler: existsSync(join(model, "scheduler", "scheduler_config.json"))
      ? readJson(join(model, "scheduler", "scheduler_config.json"))
      : PUBLISHED.sd15.scheduler,
  } as PipelineConfigs;
}

/** The config of a preference model: `vit-h`, or of a folder with config.json. */
export function preferenceConfig(model: string): SpmConfigInput {
  if (model === "vit-h") return VIT_H;
  const path = join(model, "config.json");
  if (!existsSync(path)) {
    throw new UserError(`${model} is neither a folder with config.json nor vit-h.`, {
      code: "DATA",
      hint: "vit-h is the size of the published preference models.",
    });
  }
  return readJson(path) as SpmConfigInput;
}

/** Makes the models on `meta`. dtype: of the UNet, as when they are loaded. */
export function planModels(
  configs: PipelineConfigs,
  { spm, dtype = "float32" }: { spm?: SpmConfigInput; dtype?: DType } = {},
): PlannedModels {
  const texts = [new CLIPTextModel(configs.text_encoder)];
  if (configs.text_encoder_2) texts.push(new CLIPTextModelWithProjection(configs.text_encoder_2));
  const unet = new UNet2DConditionModel(configs.unet).to({ dtype });
  const size = unet.config.sample_size ?? 64;
  return {
    texts,
    unet,
    vae: new AutoencoderKL(configs.vae),
    spm: spm && new StepAwarePreferenceModel(spm),
    latentSize: typeof size === "number" ? [size, size] : (size as [number, number]),
    device: "meta",
  };
}

/** The same models with random weights, for a measurement. */
export function giveValues(models: PlannedModels, device: Device = "cpu"): PlannedModels {
  const generator = new Generator(0);
  for (const module of modulesOf(models)) {
    const dtype = (module.parameters()[0] as Tensor).dtype;
    initialize(module, generator);
    module.to({ dtype, device });
  }
  return { ...models, device };
}

export const modulesOf = ({ texts, unet, vae, spm }: PlannedModels): Module[] => [
  ...texts,
  unet,
  vae,
  ...(spm ? [spm] : []),
];

/** Bytes of parameters; one that stands at two names counts once. */
export function bytesOf(parameters: Iterable<Tensor>): number {
  return [...new Set(parameters)].reduce((sum, { nbytes }) => sum + nbytes, 0);
}

/** A tensor of no particular values. */
export const blank = (
  shape: readonly number[],
  { device }: { device: PlannedModels["device"] },
  dtype: DType = "float32",
): Tensor => zeros(shape, { device, dtype });
