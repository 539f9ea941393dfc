import { LAYOUTS, type Layout } from "@spo/data/preference";
import { type Command, Option } from "commander";
import type { ConversionOptions } from "../jobs/convert-set.js";
import { addModelOptions, addSetOptions, openingOf } from "../options/pair-options.js";
import { putJson, say } from "../terminal/terminal.js";

type Options = ConversionOptions & { to: Layout | "votes"; labeller: string };

export default function (command: Command): void {
  addModelOptions(addSetOptions(command))
    .description("Writes a preference set in another layout, or its labels as votes.")
    .argument("<paths...>", `files or folders of one layout: ${LAYOUTS.join(", ")}`)
    .addOption(
      new Option("--to <layout>", "parquet and votes are a file, the others a folder with the images")
        .choices([...LAYOUTS, "votes"])
        .makeOptionMandatory(),
    )
    .requiredOption("-o, --output <path>", "file or new folder")
    .option("--split <name>", "only this split")
    .option("--skip-broken", "leave out pairs with wrong labels, no prompt or broken images")
    .option("--harden", "for kohya: soft labels become wins, ties and unjudged pairs are left out")
    .option("--labeller <name>", "whose votes they are said to be", "import")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  npx spo data export pairs.parquet --to jsonl --output pairs/",
        "  npx spo data export pickapic/data --to parquet --skip-broken --output clean.parquet",
      ].join("\n"),
    )
    .action(async (paths: string[]) => {
      const { to, labeller, ...options } = command.optsWithGlobals<Options>();
      if (to !== "votes") {
        const { convertSet } = await import("../jobs/convert-set.js");
        return convertSet(paths, to, options);
      }
      const { openPairs, votesOf, writeVotes } = await import("@spo/data");
      const source = await openPairs(paths, openingOf(options));
      try {
        const written = await writeVotes(options.output, votesOf(source, labeller));
        if (options.json) putJson({ schema: "spo.conversion/1", output: options.output, written });
        say(`${options.output}: ${written} votes`);
      } finally {
        await source.close();
      }
    });
}
