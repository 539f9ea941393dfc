// A comparison on the terminal: one progress bar, the chosen settings, a clean end on Ctrl-C, the report and its summary.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { Run } from "@spo/records";
import { short } from "@spo/records/report";
import { engineFacts, resolveDevice } from "@spo/torch";
import {
  type ComparisonEvent,
  compareMethods,
  comparisonEssence,
  comparisonFacts,
  writeComparison,
} from "spo/comparison";
import { CompareConfig, pathsOf } from "spo/schemas";
import type { CommonOptions } from "../options/common-options.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson } from "../terminal/terminal.js";

interface ComparisonCall extends CommonOptions {
  config: CompareConfig;
  folder: string;
}

/** Runs or resumes a comparison, then writes its report and prints a summary. */
export async function runComparison({ config, folder, json, quiet }: ComparisonCall): Promise<void> {
  resolveDevice(config.device); // a missing device is an error before a folder is made
  const bar = new ProgressBar({ quiet });
  const isNew = !existsSync(join(folder, "config.json"));
  using run = Run.open(folder, {
    kind: "compare",
    config,
    mapPaths: pathsOf(CompareConfig),
    engine: engineFacts(),
  });
  const signal = interruptible((text) => bar.say(text));
  const done = await lastOf(compareMethods(config, { run, signal }), (event) => {
    show(bar, event);
    if (json) putJson({ schema: "spo.compare.event/1", ...event });
  }).catch((error: unknown) => {
    bar.end();
    if (signal.aborted && error === signal.reason)
      bar.say(`stopped; what is done is in ${folder}. The same command goes on from there.`);
    else if (isNew) run.discardUnused();
    throw error;
  });
  bar.end();
  const facts = comparisonFacts(done.findings, config, { ...engineFacts(), node: process.version });
  const written = await writeComparison(folder, facts, done.pictures);
  if (!run.result()) run.record({ type: "done", result: { report: written.html } });
  for (const line of comparisonEssence(facts)) bar.say(line);
  bar.say(`report: ${written.html}`);
  if (json) putJson({ schema: "spo.compare/1", folder, ...written, facts });
}

/** What a comparison ends with. */
async function lastOf(
  events: AsyncIterable<ComparisonEvent>,
  onEvent: (event: Exclude<ComparisonEvent, { type: "done" }>) => void,
): Promise<ComparisonEvent & { type: "done" }> {
  for await (const event of events) {
    if (event.type === "done") return event;
    onEvent(event);
    await setImmediate(); // lets signals arrive
  }
  throw new Error("the comparison ended without its findings");
}

function show(bar: ProgressBar, event: ComparisonEvent): void {
  if (event.type === "progress") {
    const { done, total, job, detail } = event;
    bar.advance({ stage: "compare", done, total, detail: [job, detail].filter(Boolean).join(", ") });
  } else if (event.type === "warn") {
    bar.say(`warning: ${event.job}: ${event.message}`);
  } else if (event.type === "validated") {
    bar.say(`${event.name}, step ${event.step}: validator ${short(event.quality)}`);
  } else if (event.type === "chosen") {
    bar.say(`${event.method}: chosen of ${event.trials} trials: ${JSON.stringify(event.settings)}`);
  }
}
