import type { Command } from "commander";
import { MakePairsConfig } from "spo/schemas";
import { recipeCommand } from "../recipe-command.js";

export default function (command: Command): void {
  command.description("Makes preference data.").helpCommand(false);
  recipeCommand(command.command("pairs").summary("preference pairs from a judge and real artwork"), {
    kind: "data pairs",
    about:
      "Makes preference pairs: samples of the base ranked by a judge, and real artwork over generated or damaged.",
    schema: MakePairsConfig,
    output: "pairs.parquet",
    load: async () => (await import("spo/recipes")).makePairs,
    example:
      "--data artwork.parquet --model ./base --labeller ./judge --trainPrompts train.txt --testPrompts held-out.txt --run runs/pairs",
  });
}
