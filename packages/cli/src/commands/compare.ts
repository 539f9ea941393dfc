import { join, resolve } from "node:path";
import { parseOverrides, resolveConfig, settingsHelp } from "@spo/records/config";
import { requirePlace } from "@spo/torch/files";
import { type Command, Option } from "commander";
import { CompareConfig } from "spo/schemas";
import type { CommonOptions } from "../options/common-options.js";
import { comparePresets } from "../options/compare-presets.js";
import { resolveModels } from "../options/resolve-config.js";
import { takeSettings } from "../options/settings-words.js";
import { helpWidth, putJson } from "../terminal/terminal.js";
import { loadEngine } from "./load-engine.js";

/** The command's own, for "did you mean". */
const OPTIONS = ["run", "dry-run", "json", "quiet"];

/** The preset that is compared by default. */
const DEFAULT = "emoji";

type Options = CommonOptions & { run?: string; dryRun?: boolean };

export default function (command: Command): void {
  takeSettings(command, { schema: CompareConfig, presets: ["emoji", "emoji-latent"] })
    .description(
      "Compares base, Diffusion-DPO and SPO on one model, one set of pairs and one machine: the same time, search and prompts for each method, quality over seconds and over counted work, on one page.",
    )
    .argument(
      "[words...]",
      "presets (emoji: the example of this repository; emoji-latent: the same with a latent judge beside it), config files, settings",
    )
    .usage("[preset|file…] [--setting value…] [--run <folder>]")
    .option("--run <folder>", "where all of it goes; called again, it goes on (runs/compare)")
    .addOption(new Option("--dry-run", "print the resolved config and do nothing"))
    .addHelpText("after", () =>
      [
        "",
        "Settings (as `--seconds 900` or `seconds=900`):",
        settingsHelp(CompareConfig, { width: helpWidth() }),
        "",
        "Examples:",
        "  npx spo compare",
        "  npx spo compare emoji --seeds 0 --seconds 400 --run runs/short",
        "  npx spo compare my.json --run runs/compare-mine --json",
      ].join("\n"),
    )
    .action(async () => {
      const { run = join("runs", "compare"), dryRun, json, quiet } = command.optsWithGlobals<Options>();
      const { words } = parseOverrides(CompareConfig, command.args, OPTIONS);
      const config = await resolveConfig(CompareConfig, {
        presets: comparePresets(),
        args: words.length > 0 ? command.args : [DEFAULT, ...command.args],
      });
      if (dryRun) return putJson(config, json ? 0 : 2);
      requirePlace(run, "folder");
      await loadEngine();
      const { runComparison } = await import("../jobs/run-comparison.js");
      await runComparison({
        config: await resolveModels(CompareConfig, config, { quiet }),
        folder: resolve(run),
        json,
        quiet,
      });
    });
}
