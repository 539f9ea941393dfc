import {
  type SamplerName,
  type ScheduleName,
  WEBUI_SAMPLERS,
  WEBUI_SCHEDULES,
} from "@spo/diffusion/sampler-names";

/** All that an image was made with. */
export interface ImageParameters {
  prompt: string;
  negative: string;
  seed: number;
  width: number;
  height: number;
  steps: number;
  guidance: number;
  eta: number;
  sampler: SamplerName;
  /** How the noise levels lie, where that is not as the sampler has them by itself. */
  schedule?: ScheduleName;
  model: string;
  /** All that changed the models; those with `inPrompt` stand in the prompt themselves. */
  loras: readonly { file: string; weight: number; textWeight?: number; inPrompt?: true }[];
  dtype: string;
}

/** In the words that A1111's web UI writes, and other tools read, under the key `parameters`. */
export function webuiParameters(image: ImageParameters, version: string): string {
  const settings = {
    Steps: image.steps,
    Sampler: WEBUI_SAMPLERS[image.sampler],
    ...(image.schedule && { "Schedule type": WEBUI_SCHEDULES[image.schedule] }),
    "CFG scale": image.guidance,
    Seed: image.seed,
    Size: `${image.width}x${image.height}`,
    Model: image.model,
    ...(image.eta !== 0 && { Eta: image.eta }),
    Version: `spo ${version}`,
  };
  const loras = image.loras
    .filter(({ inPrompt }) => !inPrompt)
    .map(({ file, weight }) => `<lora:${stem(file)}:${weight}>`);
  return [
    [image.prompt, ...loras].join(" "),
    ...(image.negative ? [`Negative prompt: ${image.negative}`] : []),
    Object.entries(settings)
      .map(([name, value]) => `${name}: ${value}`)
      .join(", "),
  ].join("\n");
}

const stem = (path: string): string => path.replace(/^.*\//, "").replace(/\.[^.]*$/, "");
