import { LAYOUTS } from "@spo/data/preference";
import { requirePlace } from "@spo/torch/files";
import { type Command, Option } from "commander";
import type { FilterCommandOptions } from "../jobs/filter-set.js";
import { batch } from "../options/option-values.js";
import { addSetOptions, placeOf } from "../options/pair-options.js";
import { loadEngine } from "./load-engine.js";

const collect = (value: string, all: string[] = []): string[] => [...all, value];

export default function (command: Command): void {
  addSetOptions(command)
    .description(
      "Keeps the pairs whose preferred image scorers do not contradict, and stores the scorers' gaps.",
    )
    .argument("<paths...>", `files or folders of one layout: ${LAYOUTS.join(", ")}`)
    .requiredOption("-o, --output <path>", "file for parquet, new folder for the others")
    .option("--by <scorer>", "NAME:PATH, as clip:FOLDER, or a module of your own; again for each", collect)
    .option(
      "--require <condition>",
      "'NAME>NUMBER' of the score of the preferred image less the other's; again for each",
      collect,
    )
    .option(
      "--ties <condition>",
      "'NAME<NUMBER' of the size of a tie's difference; again for each. Without it ties are left out",
      collect,
    )
    .addOption(new Option("--to <layout>", "what is written").choices(LAYOUTS).default("parquet"))
    .option("--batch <n>", "pairs scored together", batch, 16)
    .option("--device <name>", "where the scorers compute: cpu, cuda or cuda:N", "cpu")
    .option(
      "--skip-broken",
      "leave out pairs with images that do not decode, or without a gap that is asked for",
    )
    .addHelpText(
      "after",
      [
        "",
        "Gaps are stored as gap_NAME. A set that has them is filtered again without its scorer.",
        "",
        "Examples:",
        "  npx spo data filter pairs.parquet --by clip:./clip --require 'clip>0' --output clean.parquet",
        "  npx spo data filter clean.parquet --require 'clip>0.05' --ties 'clip<0.03' --output cleaner.parquet",
      ].join("\n"),
    )
    .action(async (paths: string[]) => {
      const options = command.optsWithGlobals<FilterCommandOptions>();
      requirePlace(options.output, placeOf(options.to));
      await loadEngine();
      const { filterSet } = await import("../jobs/filter-set.js");
      await filterSet(paths, options);
    });
}
