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
    .option(
      "--device <name>",
      "where the models compute: cpu, cuda or cuda:N; meta finds tensors on two devices without a GPU",
      "cpu",
    )
    .addHelpText(
      "after",
      [
        "",
        "Exit code 1 when a value is out of its tolerance, or a file that a check needs is missing.",
        "A folder with manifest.json must have what that lists, and is checked for nothing else;",
        "`base` in it names the folder of what its files refer to. Files that no check reads are named.",
        "",
        "On a GPU the tolerances are ten times as wide and TensorFloat-32 is off, unless NVIDIA_TF32_OVERRIDE is set.",
        "On meta nothing has values and nothing is compared: a check fails where an operator is given tensors of two devices.",
        "",
        "Examples:",
        "  npx spo verify ../shared/fixtures",
        "  npx spo verify ../shared/fixtures --json | jq '.checks[] | select(.ok | not)'",
        "  npx spo verify ../shared/fixtures --only sdxl --only spm",
        "  npx spo verify ../shared/fixtures --device cuda",
      ].join("\n"),
    )
    .action(async (folder: string) => {
      process.env.NVIDIA_TF32_OVERRIDE ??= "0"; // read by NVIDIA's libraries when the engine loads them
      await loadEngine();
      const { verifyFolder } = await import("../jobs/verify-folder.js");
      await verifyFolder(folder, command.optsWithGlobals<VerifyOptions>());
    });
}
