import type { Command } from "commander";
import type { CommonOptions } from "../options/common-options.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description("Compares every part with golden values of the Python reference libraries, case by case.")
    .argument("<folder>", "fixtures of the documented form")
    .addHelpText(
      "after",
      [
        "",
        "Exit code 1 when a value is out of its tolerance, or a file that a check needs is missing.",
        "",
        "Examples:",
        "  npx spo verify ../shared/fixtures",
        "  npx spo verify ../shared/fixtures --json | jq '.checks[] | select(.ok | not)'",
      ].join("\n"),
    )
    .action(async (folder: string) => {
      await loadEngine();
      const { verifyFolder } = await import("../jobs/verify-folder.js");
      await verifyFolder(folder, command.optsWithGlobals<CommonOptions>());
    });
}
