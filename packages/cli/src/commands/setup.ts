import type { Command } from "commander";
import type { CommonOptions } from "../options/common-options.js";
import { putJson } from "../terminal/terminal.js";
import { setUp } from "./load-engine.js";

interface SetupOptions extends CommonOptions {
  again?: boolean;
}

export default function (command: Command): void {
  command
    .summary("set the engine up, as the first command that computes does")
    .description(
      "Finds libtorch or downloads it, and takes the prebuilt addon where it fits, else compiles one. What is there stays.",
    )
    .option("--again", "look for libtorch anew, as after installing another torch into the active Python")
    .addHelpText("after", "\nExamples:\n  npx spo setup\n  npx spo setup --again --json")
    .action(async () => {
      const { again, json, quiet } = command.optsWithGlobals<SetupOptions>();
      const addon = await setUp({ again, quiet });
      if (json) putJson({ schema: "spo.setup/1", ...addon });
    });
}
