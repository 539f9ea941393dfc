import { LAYOUTS } from "@spo/data/preference";
import { requirePlace } from "@spo/torch/files";
import { type Command, Option } from "commander";
import type { LabelCommandOptions } from "../jobs/label-set.js";
import { amount, batch, numberFrom, seed, share } from "../options/option-values.js";
import { addSetOptions, placeOf } from "../options/pair-options.js";
import { loadEngine } from "./load-engine.js";

export default function (command: Command): void {
  addSetOptions(command)
    .description("Labels preference pairs, or pairs of generated images, by a scorer: AI feedback.")
    .argument("<paths...>", `a preference set (${LAYOUTS.join(", ")}), or with --images sets of images`)
    .requiredOption("--by <scorer>", "NAME:PATH, as pickscore:./PickScore_v1; or a module of your own")
    .requiredOption("-o, --output <path>", "file for parquet and votes, new folder for the others")
    .addOption(
      new Option("--to <layout>", "what is written").choices([...LAYOUTS, "votes"]).default("parquet"),
    )
    .option("--images", "paths are images with prompts: each two of a prompt become a pair")
    .option("--per-prompt <n>", "with --images: at most so many pairs of a prompt, drawn at random", amount)
    .option("--test-share <share>", "with --images: share of the prompts for the split test", share)
    .option(
      "--temperature <t>",
      "label 0 = σ((score 0 − score 1)/t); above 1 softer, below 1 harder",
      numberFrom(0.001, 1000),
      1,
    )
    .option("--tie <gap>", "probabilities at most so far apart are a tie, ½ and ½", share, 0)
    .option("--hard", "wins are 1 and 0, not probabilities")
    .option("--scores <file>", "the scores too, as JSONL")
    .option("--batch <n>", "pairs scored together", batch, 16)
    .option("--device <name>", "where the scorer computes: cpu, cuda or cuda:N", "cpu")
    .option("--seed <n>", "of the pairs and splits that are drawn", seed, 0)
    .option("--skip-broken", "leave out pairs with images that do not decode")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  npx spo label pairs.parquet --by pickscore:./PickScore_v1 --output labelled.parquet",
        "  npx spo label samples/ --images --by hps:./HPS_v2.1_compressed.pt --test-share 0.1 --output pairs.parquet",
        "  npx spo label pairs.parquet --by pickscore:./PickScore_v1 --tie 0.1 --hard --output relabelled.parquet",
      ].join("\n"),
    )
    .action(async (paths: string[]) => {
      const options = command.optsWithGlobals<LabelCommandOptions>();
      requirePlace(options.output, placeOf(options.to));
      if (options.scores !== undefined) requirePlace(options.scores, "file");
      await loadEngine();
      const { label } = await import("../jobs/label-set.js");
      await label(paths, options);
    });
}
