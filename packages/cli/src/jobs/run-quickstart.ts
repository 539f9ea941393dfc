// The quickstart on the terminal: one progress bar a stage, a clean end on Ctrl-C, the report and its summary.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  type QuickstartFamily,
  type QuickstartJudge,
  type QuickstartOptions,
  type QuickstartResult,
  quickstart,
  quickstartFiles,
  quickstartReport,
} from "@spo/example-emoji";
import { EXAMPLE_FOLDER } from "@spo/example-emoji/folder";
import { readRun } from "@spo/records";
import { essence, verdict } from "@spo/records/report";
import { answerSignals } from "@spo/torch";
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";
import { requirePlace, UserError, writeFileAtomic } from "@spo/torch/files";
import { readJson } from "@spo/torch/text-files";
import { StopAsked } from "spo/recipes";
import { writeReport } from "spo/report";
import { z } from "zod";
import type { CommonOptions } from "../options/common-options.js";
import { Interruption, interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson } from "../terminal/terminal.js";
import { openWorld } from "./open-world.js";

/** Of `spo quickstart`. */
export interface QuickstartCommandOptions extends CommonOptions {
  fast?: boolean;
  output?: string;
  example?: string;
  family?: QuickstartFamily;
  judge?: QuickstartJudge;
  seed?: number;
  control?: boolean;
  device?: string;
}

/** The options of a folder's quickstart, for `spo report`. */
const CALL = "quickstart.json";
const Call = z.object({
  example: z.string(),
  family: z.enum(["sd15", "sd3"]).optional(),
  judge: z.enum(["latent", "pixel"]).optional(),
  fast: z.boolean(),
  device: z.string().optional(),
  spo: z.record(z.string(), z.unknown()),
});

/** Runs or resumes a quickstart, then writes its report and prints a summary. */
export async function runQuickstart(options: QuickstartCommandOptions): Promise<void> {
  const { fast = false, control = false, example = EXAMPLE_FOLDER, family, judge, seed, device } = options;
  const folder = options.output ?? defaultFolder({ fast, control, family, judge, seed });
  requirePlace(folder, "folder");
  const { model, settings } = quickstartFiles(family, judge);
  if (!existsSync(join(example, settings)))
    throw new UserError(`${example} is no example folder: it has no ${settings}.`, { code: "DATA" });
  if (!existsSync(join(example, model)))
    throw new UserError(`${join(example, model)} is not there.`, {
      code: "DATA",
      hint: `Make it: npx spo pretrain text-to-image with recipes/text-to-image-${family}.json of the example.`,
    });
  const spo = { ...(control && { judge: "random" }), ...(seed !== undefined && { seed }) };
  const world = await openWorld("quickstart");
  const call = { example: resolve(example), family, judge, folder, fast, device, spo };
  await measureAndReport(call, options, world);
  await world.close();
}

/** Writes the report of a finished quickstart anew. */
export async function rewriteReport(folder: string, options: CommonOptions): Promise<void> {
  const path = join(folder, CALL);
  const found = existsSync(path) ? Call.safeParse(readJson(path)) : undefined;
  if (!found?.success)
    throw new UserError(`${folder} holds no quickstart: ${CALL} is missing.`, { code: "DATA" });
  const ended = ["spm", "spo"].every((run) => readRun(join(folder, run)).result);
  const measured = ["base", "spo"].every((which) => existsSync(join(folder, `evaluation-${which}.json`)));
  if (!ended || !measured) {
    const { family, judge, fast } = found.data;
    const words = [
      "npx spo quickstart",
      family && `--family ${family}`,
      judge && `--judge ${judge}`,
      fast && "--fast",
      `--output ${folder}`,
    ];
    throw new UserError(`The quickstart in ${folder} has not been finished.`, {
      code: "DATA",
      hint: `${words.filter(Boolean).join(" ")} goes on with it.`,
    });
  }
  await measureAndReport({ folder, ...found.data }, options);
}

/** Of several processes, rank 0 alone speaks and writes. A report that is written anew is one process's. */
async function measureAndReport(
  options: QuickstartOptions,
  { json, quiet }: CommonOptions,
  world = WORLD_OF_ONE,
): Promise<void> {
  const { folder } = options;
  const speaks = world.rank === 0;
  const bar = new ProgressBar({ quiet: quiet || !speaks });
  const result = await measured(options, bar, world);
  if (!speaks) return;
  const report = await quickstartReport(result);
  const { html, json: facts, images } = await writeReport(folder, report);
  for (const line of essence(report)) bar.say(line);
  bar.say(`report: ${resolve(html)}`);
  if (json) {
    const measures = report.measures.map((measure) => ({ ...measure, verdict: verdict(measure) }));
    putJson({ schema: "spo.quickstart/1", folder, report: html, facts, images, measures });
  }
}

async function measured(
  options: QuickstartOptions,
  bar: ProgressBar,
  world: World,
): Promise<QuickstartResult> {
  const { folder, ...call } = options;
  const signal = interruptible((text) => bar.say(text), answerSignals);
  const run = quickstart(options, { signal, world });
  try {
    for (;;) {
      const { value, done } = await run.next();
      // Written when its runs are open: by then the folder of another quickstart has been refused.
      if (world.rank === 0 && !existsSync(join(folder, CALL)) && existsSync(folder))
        writeFileAtomic(join(folder, CALL), `${JSON.stringify(call, null, 2)}\n`);
      if (done) return value;
      if (value.warning === undefined) bar.advance(value);
      else bar.say(`warning: ${value.warning}`);
    }
  } catch (error) {
    bar.end();
    const isAsked = error instanceof StopAsked;
    if ((isAsked || (signal.aborted && error === signal.reason)) && world.rank === 0)
      bar.say(`stopped; what is done is in ${folder}. The same command goes on from there.`);
    throw isAsked ? new Interruption("SIGTERM", error.message) : error;
  } finally {
    bar.end();
  }
}

/** Each combination of options has a folder of its own, because other settings are another run. */
function defaultFolder({
  fast,
  control,
  family = "sd15",
  judge,
  seed,
}: {
  fast: boolean;
  control: boolean;
  family?: QuickstartFamily;
  judge?: QuickstartJudge;
  seed?: number;
}): string {
  const parts = [
    "quickstart",
    family !== "sd15" && family,
    judge,
    fast && "fast",
    control && "control",
    seed !== undefined && `seed-${seed}`,
  ];
  return join("runs", parts.filter(Boolean).join("-"));
}
