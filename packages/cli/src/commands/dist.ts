import type { Command } from "commander";
import type { DistributionCheckOptions } from "../jobs/check-distribution.js";
import { numberFrom } from "../options/option-values.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command.description("Several processes, before they train together.").helpCommand(false);
  command
    .command("check")
    .summary("do the processes find each other, are they alike, what does communication cost")
    .description(
      "Run by every process, as a training is: connects them, names who is missing, refuses a mix of versions, and measures what a step's communication will cost.",
    )
    .option(
      "--wait <seconds>",
      "longest time that the processes wait for one another; default: 60",
      numberFrom(1, 86_400),
      60,
    )
    .option("--device <name>", "where the gradients are that a step adds up: cpu, cuda; default: cpu", "cpu")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  npx spo launch --nproc 2 -- spo dist check",
        "  npx spo launch --nproc 8 --nnodes 2 --node-rank 0 --master node-0 -- spo dist check",
        "  npx spo launch --nproc auto -- spo dist check --device cuda",
        "  srun npx spo dist check",
      ].join("\n"),
    )
    .action(async (_: object, action: Command) => {
      await loadEngine();
      const { checkDistribution } = await import("../jobs/check-distribution.js");
      await checkDistribution(action.optsWithGlobals<DistributionCheckOptions>());
    });
}
