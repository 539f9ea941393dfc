import { existsSync } from "node:fs";
import { requirePlace, UserError } from "@spo/torch/files";
import { type Command, Option } from "commander";
import type { ConvertOptions } from "../jobs/convert.js";
import { partOption } from "../options/part-option.js";
import { variantName } from "../options/variant-name.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .summary("write a model or a LoRA in another layout")
    .description(
      "Writes a model or a LoRA in another layout: any that is published in, any that is popular out. Nothing is written over.",
    )
    .argument("<from>", "model folder, checkpoint file, LoRA file or folder, or org/name[@revision] of a hub")
    .requiredOption("-o, --output <path>", "file or folder to write; must not be there yet")
    .addOption(
      new Option(
        "--to <layout>",
        "default: a model becomes one file where --output ends in .safetensors, else a folder; a LoRA becomes kohya's",
      ).choices(["diffusers", "single-file", "kohya", "peft", "comfy"]),
    )
    .addOption(
      new Option(
        "--lora <file[:weight]>",
        "an adapter to merge into the model, and its strength; may be given several times",
      )
        .argParser(collect)
        .default([], "none"),
    )
    .addOption(
      new Option("--dtype <type>", "of what is written; default: as it is").choices([
        "float32",
        "bfloat16",
        "float16",
      ]),
    )
    .option("--variant <name>", "part of the files' names in a folder, as in ….fp16.safetensors", variantName)
    .option(
      "--configs <model>",
      "folder in diffusers layout, for one file or a LoRA of a model that has other sizes than the published ones",
    )
    .addOption(partOption())
    .option("--title <text>", "into a LoRA's metadata")
    .option("--author <text>", "into a LoRA's metadata")
    .option("--description <text>", "into a LoRA's metadata")
    .option("--license <text>", "into a LoRA's metadata")
    .option("--tags <text>", "into a LoRA's metadata, separated by commas")
    .option("--trigger <text>", "into a LoRA's metadata: the words that call for it")
    .addHelpText(
      "after",
      [
        "",
        "Layouts of a model: diffusers (a folder), single-file (one .safetensors in the original naming: ComfyUI, A1111, Forge).",
        "Layouts of a LoRA: kohya (ComfyUI, A1111, Forge, diffusers), diffusers, peft.",
        "",
        "Memory: weights are mapped from their files and written one after the other. Copied besides: with --lora the weights that it changes;",
        "with --dtype what is written, all of it for one file and one of its models at a time for a folder.",
        "Stopped by Ctrl-C, nothing half-written is left.",
        "",
        "Examples:",
        "  npx spo convert runs/spo/model --output spo-lora.safetensors --title 'SPO'",
        "  npx spo convert ./sd15 --lora spo-lora.safetensors:0.8 --dtype float16 --output sd15-spo.safetensors",
        "  npx spo convert downloaded.ckpt --output ./sd15-folder",
      ].join("\n"),
    )
    .action(async (from: string) => {
      const options = command.optsWithGlobals<ConvertOptions>();
      refuseToOverwrite(options.output);
      requirePlace(options.output, "folder");
      await loadEngine();
      const { convert } = await import("../jobs/convert.js");
      await convert(from, options);
    });
}

function refuseToOverwrite(output: string): void {
  if (!existsSync(output)) return;
  throw new UserError(`${output} is there already.`, {
    code: "USAGE",
    hint: "Give another --output, or remove it first.",
  });
}

const collect = (text: string, before: string[]): string[] => [...before, text];
