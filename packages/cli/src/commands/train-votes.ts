import { requirePlace } from "@spo/torch/files";
import type { Command } from "commander";
import type { VotesTrainingOptions } from "../jobs/train-on-votes.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description(
      "Trains a preference model on the votes of a set that people judged, then the diffusion model by it. Called again, it goes on.",
    )
    .argument("<set>", "the folder that was judged; its votes stand beside it, as Studio writes them")
    .requiredOption("--model <model>", "of both trainings: folder, checkpoint file, or org/name of a hub")
    .requiredOption("--run <folder>", "where pairs and both runs go")
    .option(
      "--from <folder>",
      "an earlier --run of this command, whose diffusion model goes on; the preference model learns all votes anew",
    )
    .option("--prompts <file>", "of the second training; default: those of the set")
    .option("--spm <words...>", "of the first training: presets, files, and settings as init=./pickscore")
    .option("--spo <words...>", "of the second one: presets, files, and settings as rounds=100")
    .addHelpText(
      "after",
      [
        "",
        "Example:",
        "  npx spo train votes runs/taste --model ./sd15 --run runs/mine \\",
        "    --spm sd15 init=./pickscore steps=300 --spo sd15 rounds=200",
      ].join("\n"),
    )
    .action(async (set: string) => {
      const options = command.optsWithGlobals<VotesTrainingOptions>();
      requirePlace(options.run, "folder");
      await loadEngine();
      const { trainOnVotes } = await import("../jobs/train-on-votes.js");
      await trainOnVotes(set, options);
    });
}
