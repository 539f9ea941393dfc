import type { Command } from "commander";
import { spmPresets, spoPresets } from "spo/presets";
import { TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import { recipeCommand } from "../recipe-command.js";

export default function (command: Command): void {
  command
    .description("Trains a preference model (spm), or a diffusion model by its judgement (spo).")
    .helpCommand(false);
  recipeCommand(command.command("spm").summary("a step-aware preference model, from preference pairs"), {
    kind: "train spm",
    about: "Trains a step-aware preference model on preference pairs.",
    schema: TrainSpmConfig,
    presets: spmPresets,
    output: "model",
    load: async () => (await import("spo/recipes")).trainSpm,
    example: "sd15 --model ./sd15 --init ./pickscore --pairs pairs.parquet --run runs/spm",
  });
  recipeCommand(command.command("spo").summary("a diffusion model, by a preference model's judgement"), {
    kind: "train spo",
    about: "Post-trains a diffusion model so that a preference model likes its images more.",
    schema: TrainSpoConfig,
    presets: spoPresets,
    output: "model",
    load: async () => (await import("spo/recipes")).trainSpo,
    example: "sd15 --model ./sd15 --spm runs/spm/model --prompts prompts.txt --run runs/spo",
  });
}
