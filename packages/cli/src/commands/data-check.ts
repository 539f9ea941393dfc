import type { PairReport } from "@spo/data";
import { LAYOUTS } from "@spo/data/preference";
import type { Command } from "commander";
import type { CommonOptions } from "../options/common-options.js";
import { addSetOptions, openingOf, type SetOptions } from "../options/pair-options.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { painter, put, putJson } from "../terminal/terminal.js";
import { visibleLine } from "../terminal/visible.js";

type Options = CommonOptions & SetOptions & { strict?: boolean };

export default function (command: Command): void {
  addSetOptions(command)
    .description("Looks at every pair of a preference set, decoding every image.")
    .argument("<paths...>", `files or folders of one layout: ${LAYOUTS.join(", ")}`)
    .option("--strict", "duplicates and leaks between splits are faults too")
    .addHelpText(
      "after",
      [
        "",
        "Exit code 4 when pairs cannot be trained on: wrong labels, no prompt, images that do not decode.",
        "Exit code 1 with --strict when there are duplicates or leaks.",
        "",
        "Examples:",
        "  npx spo data check pickapic/data",
        "  npx spo data check pairs.parquet --json | jq .leaks",
      ].join("\n"),
    )
    .action(async (paths: string[]) => {
      const { json, quiet, strict, ...options } = command.optsWithGlobals<Options>();
      const { checkPairs, openPairs } = await import("@spo/data");
      const bar = new ProgressBar({ quiet });
      const source = await openPairs(paths, openingOf(options));
      try {
        const report = await checkPairs(source, {
          onProgress: (done, total) => bar.advance({ stage: "pairs", done, total }),
        });
        bar.end();
        if (json) putJson({ schema: "spo.pairs/1", paths, ...report });
        else print(report);
        const isUnclean =
          report.duplicates.pairs + report.duplicates.sides + report.leaks.prompts + report.leaks.images > 0;
        if (strict && isUnclean) process.exitCode = 1;
        if (report.faults.count > 0) process.exitCode = 4; // as of any damaged data
      } finally {
        await source.close();
      }
    });
}

function print({
  layout,
  pairs,
  splits,
  labels,
  prompts,
  models,
  images,
  duplicates,
  leaks,
  faults,
}: PairReport): void {
  const paint = painter(process.stdout);
  const share = (part: number, whole: number): string =>
    `${part}${whole > 0 ? ` (${((100 * part) / whole).toFixed(1)} %)` : ""}`;
  const list = (counts: Record<string, number>): string => {
    const entries = Object.entries(counts).map(([name, count]) => `${name}: ${count}`);
    return entries.slice(0, 6).join(", ") + (entries.length > 6 ? `, and ${entries.length - 6} more` : "");
  };
  const row = (name: string, text: string): void => put(`${`${name}`.padEnd(12)}${visibleLine(text)}`);
  const judged = labels.firstWins + labels.secondWins;
  row("pairs", `${pairs} in ${layout}; ${list(splits)}`);
  row(
    "labelled",
    `${share(labels.labelled, pairs)}, soft ${labels.soft}, ties ${share(labels.ties, labels.labelled)}`,
  );
  row("winner", `first image ${share(labels.firstWins, judged)}, second ${share(labels.secondWins, judged)}`);
  row(
    "prompts",
    `${prompts.distinct}, ${prompts.length.min} to ${prompts.length.max} letters (median ${prompts.length.median}), ` +
      `${prompts.pairs.min} to ${prompts.pairs.max} pairs each`,
  );
  if (prompts.wrongCounts > 0)
    row("", `of ${prompts.wrongCounts} prompts num_example_per_prompt is not the number of their pairs here`);
  if (models.named > 0)
    row("models", `both by one ${share(models.same, models.named)}; ${list(models.pairs)}`);
  row("images", `${images.distinct} distinct, ${images.broken} broken; ${list(images.formats)}`);
  row("sizes", list(images.sizes));
  row("duplicates", `${duplicates.pairs} pairs, ${duplicates.sides} with one image on both sides`);
  row("leaks", `${leaks.prompts} prompts and ${leaks.images} images in more than one split`);
  for (const line of [...duplicates.shown, ...leaks.shown].slice(0, 10))
    put(`  ${paint("yellow", visibleLine(line))}`);
  row("faults", faults.count === 0 ? paint("green", "none") : paint("red", String(faults.count)));
  for (const line of faults.shown) put(`  ${visibleLine(line)}`);
}
