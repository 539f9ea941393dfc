import { type Command, Option } from "commander";
import type { StudioCommandOptions } from "../jobs/run-studio.js";
import { share, wholeFrom } from "../options/option-values.js";

/** Ports of TCP; 0: a free one. */
const port = wholeFrom(0, 65_535);

export default function (command: Command): void {
  command
    .description(
      "Shows the runs of a folder in the browser, live and finished: the candidates of each denoising step, curves, samples, settings.",
    )
    .argument("[folder]", "the folder that the runs are in, or one run", "runs")
    .option("--port <number>", "0: a free one; default: 7766, or a free one where that is taken", port)
    .option("--host <address>", "where it listens; 0.0.0.0: for other machines too", "127.0.0.1")
    .option("--trust-host <name>", "another name by which it may be called, as behind a proxy", collect)
    .option(
      "--votes-per-pair <number>",
      "how many votes a pair gets, by different people",
      wholeFrom(1, 1000),
      1,
    )
    .option("--repeat-share <number>", "of the judged pairs: shown once more, sides swapped", share, 0.05)
    .option(
      "--gold-share <number>",
      "of the pairs: those of the kind gold, which have one answer",
      share,
      0.04,
    )
    .option(
      "--allow-start",
      "let the page start trainings: whoever has the address can then read and run what you may, as models and judges of your own",
    )
    .option(
      "--train <words>",
      'lets the page train on votes: the options of `spo train votes`, as "--model ./sd15 --spm sd15 init=./pickscore --spo sd15"',
    )
    .addOption(
      new Option(
        "--demo <name>",
        "taste: judge images of the embedded model, train it on your votes",
      ).choices(["taste"]),
    )
    .option("--no-open", "do not open the browser")
    .addHelpText(
      "after",
      "\nExamples:\n  npx spo studio\n  npx spo studio runs/quickstart\n  npx spo studio runs --port 0 --no-open --json",
    )
    .action(async (folder: string) => {
      const { runStudio } = await import("../jobs/run-studio.js");
      const options = command.optsWithGlobals<StudioCommandOptions>();
      await runStudio(options.demo && command.args.length === 0 ? "runs/taste-demo" : folder, options);
    });
}

const collect = (name: string, before: string[] = []): string[] => [...before, name];
