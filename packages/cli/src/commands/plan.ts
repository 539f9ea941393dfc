import { type Command, Option } from "commander";
import { dpoPresets, spmPresets, spoPresets } from "spo/presets";
import { SCHEMAS } from "spo/schemas";
import type { PlanOptions, PlanSampleOptions } from "../jobs/plan-job.js";
import {
  amount,
  batch,
  guidance,
  memorySize,
  numberFrom,
  pixels,
  samplingSteps,
  threads,
} from "../options/option-values.js";
import { takeSettings } from "../options/settings-words.js";
import { vaeOptions } from "../options/vae-options.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description("Tells what a job needs, from the configs alone: no weights are read or fetched.")
    .helpCommand(false);
  const sample = command
    .command("sample")
    .summary("images from prompts")
    .description("Tells memory and work of making images, from the model's configs alone.")
    .option("--model <model>", "sd15, sdxl, sd3, flux, a folder, or org/name[@revision] of a hub", "sd15")
    .option("--count <number>", "images", amount, 1)
    .option(
      "--batch <number>",
      "images at once; on a CPU npx spo sample makes one at a time unless told otherwise",
      batch,
      1,
    )
    .option("--width <pixels>", "default: the model's size", pixels)
    .option("--height <pixels>", "default: the model's size", pixels)
    .option("--steps <number>", "sampling steps", samplingSteps, 20)
    .option("--guidance-scale <number>", "of classifier-free guidance; 1 or less: none", guidance, 7.5)
    .addOption(
      new Option("--dtype <type>", "precision of the UNet")
        .choices(["float32", "bfloat16", "float16"])
        .default("float32"),
    )
    .option("--prompt-cache <folder>", "the text encoders go before images are drawn, as with npx spo sample")
    .option("--device <name>", "where --measure runs: cpu, cuda or cuda:N", "cpu");
  vaeOptions(sample);
  common(sample, "npx spo plan sample --model sdxl --dtype bfloat16 --count 4").action(async () => {
    await loadEngine();
    const { planSample } = await import("../jobs/plan-job.js");
    await planSample(sample.optsWithGlobals<PlanSampleOptions>());
  });
  const summaries = {
    spo: "post-training with SPO",
    spm: "training of a preference model",
    dpo: "post-training with Diffusion-DPO",
  };
  const PRESETS = { spo: spoPresets, spm: spmPresets, dpo: dpoPresets };
  for (const method of ["spo", "spm", "dpo"] as const) {
    const train = takeSettings(command.command(method), {
      schema: SCHEMAS[`train ${method}`],
      presets: Object.keys(PRESETS[method]),
    })
      .summary(summaries[method])
      .description(`Tells memory and work of \`npx spo train ${method}\` from the configs alone.`)
      .usage("[preset|file…] [--setting value…] [options]")
      .argument("[words...]", `presets, config files, settings, as for npx spo train ${method}`);
    common(train, `npx spo plan ${method} sd15 --batch 8 --measure --price-per-hour 2`).action(async () => {
      await loadEngine();
      const { planTraining } = await import("../jobs/plan-job.js");
      await planTraining(method, train.args, train.optsWithGlobals<PlanOptions>());
    });
  }
}

const common = (command: Command, example: string): Command =>
  command
    .option("--measure", "run three steps of each phase with random weights, and tell time and real memory")
    .option(
      "--memory <size>",
      "say whether it fits in so much, as 12GB or 12GiB, and with which settings; exits with 1 where it does not",
      memorySize,
    )
    .option(
      "--price-per-hour <amount>",
      "of the machine, in any currency; with --measure",
      numberFrom(0, 1e9),
    )
    .option("--threads <number>", "threads within one operation", threads)
    .addHelpText("after", `\nExample:\n  ${example}`);
