import type { SamplerName } from "@spo/diffusion";

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
  model: string;
  loras: readonly { file: string; weight: number }[];
  dtype: string;
}

/** What the web UI calls the samplers. */
const SAMPLER_NAMES: Record<SamplerName, string> = {
  ddim: "DDIM",
  euler: "Euler",
  "euler-ancestral": "Euler a",
  "dpmpp-2m": "DPM++ 2M",
  "dpmpp-2m-sde": "DPM++ 2M SDE",
  pndm: "PLMS",
  lcm: "LCM",
};

/** In the words that A1111's web UI writes, and other tools read, under the key `parameters`. */
export function webuiParameters(image: ImageParameters, version: string): string {
  const settings = {
    Steps: image.steps,
    Sampler: SAMPLER_NAMES[image.sampler],
    "CFG scale": image.guidance,
    Seed: image.seed,
    Size: `${image.width}x${image.height}`,
    Model: image.model,
    ...(image.eta !== 0 && { Eta: image.eta }),
    Version: `spo ${version}`,
  };
  const loras = image.loras.map(({ file, weight }) => `<lora:${stem(file)}:${weight}>`);
  return [
    [image.prompt, ...loras].join(" "),
    ...(image.negative ? [`Negative prompt: ${image.negative}`] : []),
    Object.entries(settings)
      .map(([name, value]) => `${name}: ${value}`)
      .join(", "),
  ].join("\n");
}

const stem = (path: string): string => path.replace(/^.*\//, "").replace(/\.[^.]*$/, "");
