import { requirePlace } from "@spo/torch/files";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { EvalCommandOptions } from "../jobs/evaluate-models.js";
import { batchInvariantOption } from "../options/batch-invariant.js";
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
import { allowOutsideOption } from "../options/pair-options.js";
import { chosenSampler, samplerOptions } from "../options/sampler-options.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description(
      "Draws the same prompts from the same noise with several models, or takes images that are there, and says how they differ: scores by the field's metrics, diversity and drift, with intervals.",
    )
    .argument(
      "<models...>",
      "what to evaluate; the others are compared with the first. A model (folder, file, run of train spo or train dpo, org/name[@revision]) with `,lora=FILE[:WEIGHT]` and `,name=TEXT` behind it, or images:PATH",
    )
    .addOption(
      new Option(
        "--metrics <list>",
        "NAME:PATH with commas between, or a module of your own (.js, .mjs, .ts); may be given several times",
      )
        .argParser(collect)
        .makeOptionMandatory(),
    )
    .addOption(allowOutsideOption())
    .option("--prompts <file>", "one a line; not needed where there are only images")
    .option(
      "--features <metric>",
      "whose image features distances are measured in; default: the first metric that has some",
    )
    .option(
      "-o, --output <folder>",
      "where images, figures and report go; called again, it goes on with what is there",
      "evaluation",
    )
    .option("--seeds <list>", "of the noise, with commas between", seeds, [0, 1, 2])
    .option("--per-prompt <number>", "images of each prompt and seed", amount, 1)
    .option("--steps <number>", "sampling steps", samplingSteps, 20)
    .option(
      "--guidance-scale <number>",
      "of guidance, the same for all models; 1 or less: none; default: each model's usual, 7.5, of SD3 7, of FLUX.1-dev 3.5, of schnell none",
      guidance,
    )
    .addOption(new Option("--negative <text>", "what the images should not show").default("", "nothing"))
    .option(
      "--eta <number>",
      "noise of the steps of ddim and of flow models; 0: none, 1: of ddim as much as DDPM",
      share,
      0,
    )
    .option("--width <pixels>", "default: the model's size", pixels)
    .option("--height <pixels>", "default: the model's size", pixels)
    .addOption(
      new Option("--dtype <type>", "precision of the UNet")
        .choices(["float32", "bfloat16", "float16"])
        .default("float32"),
    )
    .option("--device <name>", "cpu, cuda or cuda:N; the noise is the same on each", "cpu")
    .option("--batch <number>", "images drawn at once, where not each is computed by itself", batch, 4)
    .addOption(batchInvariantOption())
    .option("--score-batch <number>", "images scored at once", batch, 8)
    .option("--threads <number>", "threads within one operation", threads);
  samplerOptions(command, "the one that each model names")
    .addHelpText(
      "after",
      [
        "",
        "Metrics:",
        "  pickscore:PATH     PickScore_v1: folder or file",
        "  hps:PATH           HPS v2: HPS_v2.1_compressed.pt",
        "  imagereward:PATH   ImageReward.pt; its tokenizer is vocab.txt of bert-base-uncased",
        "  aesthetic:PATH     LAION's head, sac+logos+ava1-l14-linearMSE.pth; its clip is ViT-L/14",
        "  clip:PATH          CLIP score, 100·cos, of any CLIP",
        "  spm:PATH           a step-aware preference model, of finished images",
        "  FILE.js, FILE.ts   a scorer of your own, as examples/emoji/judges/artwork.js",
        "PATH is a file or folder, or org/name[/file][@revision] of a hub. Behind it may stand ,tokenizer=PATH (CLIP's words are else the model's)",
        "and ,clip=PATH.",
        "",
        "Examples:",
        "  npx spo eval ./sd15 runs/spo --metrics pickscore:./PickScore_v1,hps:./HPS_v2.1_compressed.pt --prompts held-out.txt",
        "  npx spo eval ./sd15 ./sd15,lora=mine.safetensors:0.8,name=mine --metrics clip:openai/clip-vit-large-patch14 --prompts held-out.txt --json",
        "  npx spo eval images:./before images:./after --metrics ./my-metric.mjs",
      ].join("\n"),
    )
    .action(async (models: string[]) => {
      const options = command.optsWithGlobals<EvalCommandOptions>();
      chosenSampler(options);
      requirePlace(options.output, "folder");
      await loadEngine();
      const { evaluateModels } = await import("../jobs/evaluate-models.js");
      await evaluateModels(models, options);
    });
}

const collect = (text: string, before: string[] = []): string[] => [...before, text];

function seeds(text: string): number[] {
  const list = text.split(",").map(seed);
  if (new Set(list).size < list.length) throw new InvalidArgumentError("A seed stands in it twice.");
  return list;
}
