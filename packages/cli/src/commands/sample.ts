import { requirePlace } from "@spo/torch/files";
import { type Command, Option } from "commander";
import type { SampleCommandOptions } from "../jobs/sample-to-files.js";
import { batchInvariantOption } from "../options/batch-invariant.js";
import { gridOptions } from "../options/grid-axes.js";
import { checkJudgeOptions, judgeOptions } from "../options/judge-options.js";
import {
  amount,
  batch,
  guidance,
  pixels,
  samplingSteps,
  seed,
  share,
  threads,
} from "../options/option-values.js";
import { partOption } from "../options/part-option.js";
import { chosenSampler, samplerOptions } from "../options/sampler-options.js";
import { vaeOptions } from "../options/vae-options.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description("Makes images from prompts.")
    .argument("[prompts...]", "texts; quote each")
    .requiredOption(
      "--model <model>",
      "folder in diffusers layout, checkpoint file, or org/name[@revision] of a hub",
    )
    .option(
      "--configs <folder>",
      "folder in diffusers layout, for a checkpoint file that has other sizes than the published models",
    )
    .addOption(partOption())
    .option("--prompts <file>", "a text file, one prompt a line; - reads stdin")
    .option("-o, --output <folder>", "where the images go; those that are there stay", "samples")
    .option("--seed <number>", "of the first image of each prompt; the next ones count on", seed, 0)
    .option("--count <number>", "images of each prompt", amount, 1)
    .option("--grid", "one more image that shows all")
    .addOption(new Option("--negative <text>", "what the images should not show").default("", "nothing"))
    .option("--width <pixels>", "default: the model's size", pixels)
    .option("--height <pixels>", "default: the model's size", pixels)
    .option("--steps <number>", "sampling steps", samplingSteps, 20)
    .option(
      "--guidance-scale <number>",
      "of guidance; 1 or less: none; default: 7.5, of SD3 7, of FLUX.1-dev 3.5, of schnell none",
      guidance,
    )
    .option(
      "--eta <number>",
      "noise of the steps of ddim and of flow models; 0: none, 1: of ddim as much as DDPM. With --judge 0 means 1",
      share,
      0,
    )
    .addOption(
      new Option("--lora <file[:weight]>", "an adapter and its strength; may be given several times")
        .argParser(collect)
        .default([], "none"),
    )
    .option(
      "--lora-dir <folder>",
      "where <lora:name:0.8> in a prompt finds its file, folders in it too; default: beside the files of --lora",
    )
    .addOption(
      new Option(
        "--prompt-syntax <kind>",
        "a1111: weights like (cute:1.3), LoRAs, BREAK, and prompts beyond 75 tokens; plain: each letter is a letter; auto: a1111 where a prompt has its marks",
      )
        .choices(["auto", "a1111", "plain"])
        .default("auto"),
    )
    .addOption(
      new Option("--dtype <type>", "precision of the UNet")
        .choices(["float32", "bfloat16", "float16"])
        .default("float32"),
    )
    .option("--device <name>", "cpu, cuda or cuda:N; the noise is the same on each", "cpu")
    .option("--threads <number>", "threads within one operation", threads)
    .option("--batch <number>", "images at once, where not each is computed by itself", batch, 4)
    .addOption(batchInvariantOption());
  command.option(
    "--prompt-cache <folder>",
    "encode all prompts before anything is drawn, keep that in a folder, and free the text encoders; prompts that are there are not encoded again",
  );
  gridOptions(command);
  judgeOptions(command);
  samplerOptions(command, "the one that the model names");
  vaeOptions(command)
    .addHelpText(
      "after",
      [
        "",
        "A prompt may end in its own settings, as in kohya's prompt files:",
        "  --n negative prompt  --w width  --h height  --d seed  --l guidance  --s steps",
        "In a file, empty lines and lines that start with # are left out.",
        "",
        "Examples:",
        '  npx spo sample "a red apple" --model examples/emoji/model --count 4 --grid',
        '  npx spo sample "a red apple" --model ./sd15 --sampler "DPM++ 2M Karras" --steps 25',
        '  npx spo sample "a red apple" --model ./sd15 --lora my.safetensors --grid-x guidance=3,5,7 --grid-y lora=0,0.5,1',
        '  npx spo sample "a red apple" --model ./sd15 --judge runs/spm/model --candidates 4',
        "  npx spo sample --prompts prompts.txt --model ./sd15 --lora runs/spo/model/pytorch_lora_weights.safetensors:0.7",
      ].join("\n"),
    )
    .action(async (prompts: string[]) => {
      const options = command.optsWithGlobals<SampleCommandOptions>();
      checkJudgeOptions(options, { steps: options.steps, sampler: chosenSampler(options).sampler });
      if (options.promptCache !== undefined) requirePlace(options.promptCache, "folder");
      requirePlace(options.output, "folder"); // errors are found before anything is loaded
      await loadEngine();
      const { sampleToFiles } = await import("../jobs/sample-to-files.js");
      await sampleToFiles(prompts, options);
    });
}

const collect = (text: string, before: string[]): string[] => [...before, text];
