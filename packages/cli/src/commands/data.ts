import { MakePairsConfig } from "@spo/example-emoji/schemas";
import type { Command } from "commander";
import check from "./data-check.js";
import exportPairs from "./data-export.js";
import filter from "./data-filter.js";
import importPairs from "./data-import.js";
import sideBySide from "./data-side-by-side.js";
import unpack from "./data-unpack.js";
import { recipeCommand } from "./recipe-command.js";

export default function (command: Command): void {
  command.description("Makes, checks, filters and converts preference data.").helpCommand(false);
  check(command.command("check").summary("look at every pair: labels, images, duplicates, leaks"));
  importPairs(command.command("import").summary("pairs of any layout into one parquet file"));
  exportPairs(command.command("export").summary("pairs in another layout, or as votes"));
  filter(command.command("filter").summary("only pairs whose preferred image scorers do not contradict"));
  sideBySide(command.command("side-by-side").summary("pairs to judge, of the images of several models"));
  unpack(command.command("unpack").summary("images and lists out of tar files, whole or in parts"));
  recipeCommand(command.command("pairs").summary("preference pairs from a judge and real artwork"), {
    kind: "data pairs",
    schema: MakePairsConfig,
    about:
      "Makes preference pairs: samples of the base ranked by a judge, and real artwork over generated or damaged.",
    output: "pairs.parquet",
    load: async () => (await import("@spo/example-emoji")).makePairs,
    example: "examples/emoji/recipes/pairs.json --output runs/pairs/pairs.parquet --run runs/pairs",
  });
}
