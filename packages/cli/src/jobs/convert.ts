// From one layout of a model or a LoRA to another.
import { rmSync } from "node:fs";
import {
  blankModels,
  disposeAdapter,
  familyOfConfigs,
  familyTitles,
  isLora,
  type LoraLayoutName,
  LoraStack,
  loadTextToImage,
  loraFamily,
  readLora,
  saveSingleFile,
  writeLora,
} from "@spo/diffusion";
import { placeFolder, removeLeftovers, temporaryOf, UserError } from "@spo/torch/files";
import { pipelineConfigs } from "spo/plan";
import type { CommonOptions } from "../options/common-options.js";
import { resolveLoras } from "../options/lora-option.js";
import { resolveParts } from "../options/part-option.js";
import { resolveModel } from "../options/resolve-model.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { removeWhenKilled } from "../terminal/remove-when-killed.js";
import { putJson, putPath } from "../terminal/terminal.js";

/** Of `spo convert`. */
export interface ConvertOptions extends CommonOptions {
  output: string;
  to?: "diffusers" | "single-file" | "kohya" | "peft" | "comfy";
  part: string[];
  lora: string[];
  dtype?: "float32" | "bfloat16" | "float16";
  variant?: string;
  configs?: string;
  title?: string;
  author?: string;
  description?: string;
  license?: string;
  tags?: string;
  trigger?: string;
}

/** What was written. */
interface Converted {
  kind: "model" | "lora";
  layout: NonNullable<ConvertOptions["to"]>;
}

/** Throws UserErrors for what is missing, damaged or does not fit; then nothing is left behind, nor where a signal ends it. */
export async function convert(from: string, options: ConvertOptions): Promise<void> {
  const { output, quiet } = options;
  const began = performance.now();
  removeLeftovers(output);
  using _ = removeWhenKilled(temporaryOf(output));
  const source = await resolveModel(from, { quiet, variant: options.variant });
  const converted = isLora(source) ? await convertLora(source, options) : await convertModel(source, options);
  const seconds = (performance.now() - began) / 1000;
  if (options.json) putJson({ schema: "spo.convert/1", from, output, ...converted, seconds });
  else putPath(output);
}

async function convertModel(source: string, options: ConvertOptions): Promise<Converted> {
  const { output, dtype, variant, quiet } = options;
  const layout = options.to ?? (output.endsWith(".safetensors") ? "single-file" : "diffusers");
  if (layout !== "diffusers" && layout !== "single-file")
    throw new UserError(`${source} is a model; --to ${layout} is for a LoRA.`, {
      code: "USAGE",
      hint: "A model's layouts are diffusers and single-file.",
    });
  const loras = await resolveLoras(options.lora, { quiet });
  const bar = new ProgressBar({ quiet });
  const configs = options.configs && (await resolveModel(options.configs, { quiet, configsOnly: true }));
  const pipe = loadTextToImage(source, {
    configs,
    parts: await resolveParts(options.part, { quiet }),
    dtype: "stored",
  });
  if (loras.length > 0) {
    bar.say(`merging ${loras.map(({ file, weight }) => `${file} by ${weight}`).join(", ")}`);
    new LoraStack(
      pipe.models,
      loras.map(({ file, weight }) => ({ path: file, weight })),
    ).fuse();
  }
  bar.say(`writing ${output}`);
  if (layout === "single-file")
    saveSingleFile(output, pipe.models, { dtype, scheduler: pipe.schedule.config });
  else wholeFolder(output, (folder) => pipe.save(folder, { dtype, variant }));
  return { kind: "model", layout };
}

async function convertLora(source: string, options: ConvertOptions): Promise<Converted> {
  const { output, dtype, title, author, description, license, tags, trigger: triggerPhrase, quiet } = options;
  const layout = options.to ?? "kohya";
  if (layout === "single-file")
    throw new UserError(`${source} is a LoRA; --to single-file is for a model.`, {
      code: "USAGE",
      hint: "A LoRA's layouts are kohya, diffusers, peft and comfy.",
    });
  if (options.lora.length > 0)
    throw new UserError(`${source} is a LoRA itself: --lora needs a model to be merged into.`, {
      code: "USAGE",
      hint: "Give the model first: npx spo convert MODEL --lora FILE --output PATH.",
    });
  const family = options.configs === undefined ? loraFamily(source) : undefined;
  if (options.configs === undefined && family === undefined)
    throw new UserError(`Nothing in ${source} tells which family it is for: ${familyTitles("or")}.`, {
      code: "DATA",
      hint: "Say for which model it is: --configs sd15, sdxl, sd3 or flux, or a folder.",
    });
  const configs =
    family?.published ??
    pipelineConfigs(await resolveModel(options.configs as string, { quiet, configsOnly: true }));
  const models = blankModels(family ?? familyOfConfigs(configs), configs);
  const { adapter, metadata } = readLora(source, models);
  try {
    writeLora(output, adapter, models, {
      layout: layout satisfies LoraLayoutName,
      dtype,
      description: { title, author, description, license, tags, triggerPhrase },
      metadata: keptMetadata(metadata, options),
    });
  } finally {
    disposeAdapter(adapter);
  }
  return { kind: "lora", layout };
}

/** What a file said of itself stays, but for what the writer computes or the user says anew. */
function keptMetadata(
  metadata: Readonly<Record<string, string>>,
  { title, author, description, license, tags, trigger }: ConvertOptions,
): Record<string, string> {
  const said = { title, author, description, license, tags, trigger_phrase: trigger };
  const renewed = new Set([
    ...["format", "lora_adapter_metadata", "modelspec.hash_sha256", "modelspec.sai_model_spec"],
    ...["sshs_model_hash", "sshs_legacy_hash", "ss_network_dim", "ss_network_alpha"],
    ...Object.entries(said).flatMap(([name, text]) => (text === undefined ? [] : [`modelspec.${name}`])),
  ]);
  return Object.fromEntries(Object.entries(metadata).filter(([name]) => !renewed.has(name)));
}

/** Writes a folder under another name and gives it its own when it is whole; a fault leaves nothing. */
function wholeFolder(folder: string, write: (temporary: string) => void): void {
  const temporary = temporaryOf(folder);
  try {
    write(temporary);
    placeFolder(temporary, folder);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}
