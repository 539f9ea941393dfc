// Models with the configs that published checkpoints have, against the images that diffusers draws. Made by scripts/golden/checkpoints.py.
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Generator, openSafetensors, scope, type Tensor } from "@spo/torch";
import { afterAll, describe, expect, test } from "vitest";
import { readJson } from "../config.js";
import { sampleLatents } from "../pipelines/sample-latents.js";
import type { TextToImage } from "./family.js";
import { saveSingleFile } from "./load-single-file.js";
import { loadTextToImage } from "./load-text-to-image.js";

const golden = fileURLToPath(new URL("../../../../tests/golden", import.meta.url));
const checkpoints = join(golden, "checkpoints");
const temporary = mkdtempSync(join(tmpdir(), "checkpoints-"));
afterAll(() => rmSync(temporary, { recursive: true }));

/** What `image.safetensors` says of the call. */
interface Call {
  family: "sd15" | "sdxl";
  /** The case whose models it shares. */
  like: string | null;
  prompt: string;
  negative_prompt?: string;
  seed: number;
  guidance_scale: number;
  num_inference_steps: number;
}

describe.each(readJson(join(checkpoints, "cases.json")) as string[])("a checkpoint like %s", (name) => {
  using file = openSafetensors(join(checkpoints, name, "image.safetensors"));
  const wanted = file.get("image");
  const call = JSON.parse(file.metadata.meta as string) as Call;
  const folder = join(temporary, name);
  const parts = [join("small", `tiny-${call.family}`), ...(call.like ? [call.like] : []), name];
  for (const [i, part] of parts.entries())
    cpSync(i === 0 ? join(golden, part) : join(checkpoints, part), folder, { recursive: true });
  if (!existsSync(join(checkpoints, name, "scheduler"))) throw new Error(`${name} has no scheduler`);

  /** The largest difference from diffusers' image. */
  const error = (pipe: TextToImage): number =>
    scope(() => {
      const latents = sampleLatents(pipe, {
        prompts: [call.prompt],
        negativePrompt: call.negative_prompt,
        generators: [new Generator(call.seed)],
        latentSize: [8, 8],
        steps: call.num_inference_steps,
        guidanceScale: call.guidance_scale,
      });
      const [image] = pipe.vae.decodeLatents(latents).div(2).add(0.5).clamp(0, 1).unbind(0) as [Tensor];
      return image.permute([1, 2, 0]).sub(wanted).abs().max().item();
    });

  test("draws what diffusers draws", () => {
    expect(error(loadTextToImage(folder))).toBeLessThan(1e-5);
  });

  test("goes into one file of the original naming and out of it", () => {
    const path = join(temporary, `${name}.safetensors`);
    const { models, schedule } = loadTextToImage(folder);
    saveSingleFile(path, models, { scheduler: schedule.config });
    expect(error(loadTextToImage(path, { configs: folder }))).toBeLessThan(1e-5);
  });
});
