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
  /** The schedule of the noise levels, where it is not the sampler's own. */
  schedule?: ScheduleName;
  model: string;
  /** All that changed the models; those with `inPrompt` stand in the prompt themselves. */
  loras: readonly { file: string; weight: number; textWeight?: number; inPrompt?: true }[];
  dtype: string;
  /** The judge that chose among candidates, and where. */
  judge?: { name: string; candidates: number; firstBranch: number; lastBranch?: number; innerSteps: number };
}

/** The text that A1111's web UI writes under the key `parameters`, and that other tools read. */
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
