import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";
import type { Command } from "commander";
import type { CommonOptions } from "../options/common-options.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description(
      "Writes the report of a training's run, also while it runs, or that of a finished quickstart anew.",
    )
    .argument("<folder>", "the run's folder, or the quickstart's")
    .addHelpText(
      "after",
      "\nExamples:\n  npx spo report runs/spo\n  npx spo report runs/quickstart\n  npx spo report runs/quickstart-fast --json",
    )
    .action(async (folder: string) => {
      if (existsSync(join(folder, "events.jsonl"))) {
        const { reportRun } = await import("../jobs/report-run.js");
        return reportRun(folder, command.optsWithGlobals<CommonOptions>());
      }
      if (!existsSync(join(folder, "quickstart.json"))) {
        throw new UserError(`${folder} holds neither a training's run nor a quickstart.`, {
          code: "DATA",
          hint: "A run's folder is what --run was given: events.jsonl lies in it.",
        });
      }
      await loadEngine();
      const { rewriteReport } = await import("../jobs/run-quickstart.js");
      await rewriteReport(folder, command.optsWithGlobals<CommonOptions>());
    });
}
