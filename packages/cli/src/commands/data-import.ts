import { LAYOUTS } from "@spo/data/preference";
import type { Command } from "commander";
import type { ConversionOptions } from "../jobs/convert-set.js";
import { addModelOptions, addSetOptions } from "../options/pair-options.js";

export default function (command: Command): void {
  addModelOptions(addSetOptions(command))
    .description("Makes one parquet file in Pick-a-Pic's columns of preference pairs in any layout.")
    .argument("<paths...>", `files or folders of one layout: ${LAYOUTS.join(", ")}`)
    .requiredOption("-o, --output <file>", "the parquet file")
    .option("--votes <file>", "JSONL of votes: the labels come from them, pairs without a vote are unjudged")
    .option("--split <name>", "only this split")
    .option("--skip-broken", "leave out pairs with wrong labels, no prompt or broken images")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  npx spo data import ranked/train.json --output pairs.parquet",
        "  npx spo data import pairs.parquet --votes votes.jsonl --output labelled.parquet",
      ].join("\n"),
    )
    .action(async (paths: string[]) => {
      const { convertSet } = await import("../jobs/convert-set.js");
      await convertSet(paths, "parquet", command.optsWithGlobals<ConversionOptions>());
    });
}
