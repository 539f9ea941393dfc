import type { Command } from "commander";
import { loadEngine } from "../engine.js";
import type { CommonOptions } from "../program.js";

export default function (command: Command): void {
  command
    .description("Writes the report of a finished quickstart anew, from what its folder holds.")
    .argument("<folder>", "the quickstart's folder")
    .addHelpText(
      "after",
      "\nExamples:\n  spo report runs/quickstart\n  spo report runs/quickstart-fast --json",
    )
    .action(async (folder: string) => {
      await loadEngine();
      const { rewriteReport } = await import("../run-quickstart.js");
      await rewriteReport(folder, command.optsWithGlobals<CommonOptions>());
    });
}
