import { type Command, Option } from "commander";
import type { ExportOptions } from "../jobs/export-run.js";

export default function (command: Command): void {
  command
    .description("Writes the metrics of a run for other programs; with tensorboard also its samples.")
    .argument("<run>", "the run's folder")
    .addOption(
      new Option("--to <format>", "of what is written")
        .choices(["csv", "parquet", "tensorboard"])
        .makeOptionMandatory(),
    )
    .option("-o, --output <path>", "a file, or of tensorboard a folder; default: beside the run's log")
    .addHelpText(
      "after",
      "\nA run writes TensorBoard's files by itself, in its folder tensorboard; --to tensorboard writes those of an older run.\n\nExamples:\n  npx spo export runs/spo --to csv\n  npx spo export runs/spo --to parquet -o metrics.parquet",
    )
    .action(async (folder: string) => {
      const { exportRun } = await import("../jobs/export-run.js");
      exportRun(folder, command.optsWithGlobals<ExportOptions>());
    });
}
