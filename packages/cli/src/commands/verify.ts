import type { Command } from "commander";
import type { VerifyOptions } from "../jobs/verify-folder.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  command
    .description("Compares every part with golden values of the Python reference libraries, case by case.")
    .argument("<folder>", "fixtures of the documented form")
    .option(
      "--only <word>",
      "only the checks whose name has the word, in any case of letters; may be given again",
      (word: string, before: string[] = []) => [...before, word],
    )
    .addHelpText(
      "after",
      [
        "",
        "Exit code 1 when a value is out of its tolerance, or a file that a check needs is missing.",
        "A folder with manifest.json must have what that lists, and is checked for nothing else;",
        "`base` in it names the folder of what its files refer to. Files that no check reads are named.",
        "",
        "Examples:",
        "  npx spo verify ../shared/fixtures",
        "  npx spo verify ../shared/fixtures --json | jq '.checks[] | select(.ok | not)'",
        "  npx spo verify ../shared/fixtures --only sdxl --only spm",
      ].join("\n"),
    )
    .action(async (folder: string) => {
      await loadEngine();
      const { verifyFolder } = await import("../jobs/verify-folder.js");
      await verifyFolder(folder, command.optsWithGlobals<VerifyOptions>());
    });
}
