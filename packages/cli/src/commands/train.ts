import type { Command } from "commander";
import { dpoPresets, spmPresets, spoPresets } from "spo/presets";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import { recipeCommand } from "./recipe-command.js";
import trainVotes from "./train-votes.js";

/** A run of 200 steps must warm up and measure within them; the published settings are made for 8000. */
const SHORTER = { length: "steps", parts: ["warmup"], intervals: ["evalEvery"] } as const;

export default function (command: Command): void {
  command
    .description(
      "Trains a preference model (spm), a diffusion model by its judgement (spo), or by preference pairs alone (dpo).",
    )
    .helpCommand(false);
  recipeCommand(command.command("spm").summary("a step-aware preference model, from preference pairs"), {
    kind: "train spm",
    schema: TrainSpmConfig,
    about: "Trains a step-aware preference model on preference pairs.",
    presets: spmPresets,
    scaled: SHORTER,
    output: "model",
    load: async () => (await import("spo/recipes")).trainSpm,
    example: "sd15 --model ./sd15 --init ./pickscore --pairs pairs.parquet --run runs/spm",
  });
  recipeCommand(command.command("spo").summary("a diffusion model, by a preference model's judgement"), {
    kind: "train spo",
    schema: TrainSpoConfig,
    about: "Post-trains a diffusion model so that a preference model likes its images more.",
    presets: spoPresets,
    output: "model",
    load: async () => (await import("spo/recipes")).trainSpo,
    example: "sd15 --model ./sd15 --spm runs/spm/model --prompts prompts.txt --run runs/spo",
  });
  recipeCommand(command.command("dpo").summary("a diffusion model, by preference pairs: Diffusion-DPO"), {
    kind: "train dpo",
    schema: TrainDpoConfig,
    about: "Post-trains a diffusion model on preference pairs with Diffusion-DPO, the baseline.",
    presets: dpoPresets,
    scaled: SHORTER,
    output: "model",
    load: async () => (await import("spo/recipes")).trainDpo,
    example: "sd15 --model ./sd15 --pairs pickapic/data --adapter lora --run runs/dpo",
  });
  trainVotes(command.command("votes").summary("both, from the votes of a set that people judged"));
}
