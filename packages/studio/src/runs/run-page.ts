// All about one run but its series and pictures.
import { lstatSync } from "node:fs";
import { join } from "node:path";
import { listCheckpoints, openRequests, readActivity, readRecord, settingsIn } from "@spo/records";
import { duration, trainingVerdict } from "@spo/records/report";
import { z } from "zod";
import type { Activity, RunPage, RunSummary, SampleSet } from "../api.js";
import type { FoundRun } from "./find-runs.js";
import { nearestPreset, type Presets } from "./nearest-preset.js";
import type { RunLog } from "./run-log.js";
import { readNotes } from "./run-notes.js";
import { stripRoundsOf } from "./step-view.js";

/** Warnings that a page shows. */
const WARNINGS = 20;

/** The page of a run whose log has been read. */
export function runPage(
  run: FoundRun,
  summary: RunSummary,
  log: RunLog,
  presets: Presets,
): Omit<RunPage, "exports" | "goOn"> {
  const { contents, elapsed, perStep, mark } = log;
  const config = configOf(run.folder);
  const activity = summary.state === "running" ? readActivity(run.folder) : undefined;
  const left = timeLeft(activity);
  const named = contents.newest?.time.rss;
  return {
    schema: "spo.studio.run/1",
    run: summary,
    essence: essenceOf(summary, log, left),
    notes: readNotes(run.folder),
    requests: summary.state === "running" ? openRequests(run.folder) : [],
    config,
    preset: nearestPreset(config, presets[summary.kind] ?? {}),
    activity,
    elapsed,
    left,
    perStep: perStep?.parts.concat({ part: "step", seconds: perStep.seconds }) ?? [],
    perRank: perStep?.ranks ?? [],
    memory: named === undefined ? undefined : { now: named, most: contents.mostMemory },
    engine: contents.start?.engine ?? {},
    data: contents.data?.facts ?? {},
    checkpoints: listCheckpoints(join(run.folder, "checkpoints")).map(({ step }) => step),
    warnings: [...new Set(contents.warnings)].slice(-WARNINGS),
    // How far it is stands above every view.
    metrics: { step: contents.updates.keys.filter((key) => key !== "progress"), eval: contents.evals.keys },
    samples: sampleSets(run, log),
    strips: stripRoundsOf(run.folder).map(({ round }) => ({ round })),
    picturing: contents.picturing > 0 ? contents.picturing / elapsed : undefined,
    mark,
  };
}

/** Seconds that a training still takes, as it told last, less what has passed since. */
export function timeLeft({ left, at }: Partial<Activity> = {}, now = Date.now()): number | undefined {
  if (left === undefined || at === undefined) return undefined;
  return Math.max(0, left - Math.max(0, now - Date.parse(at)) / 1000);
}

/** What goes on, or what came out, in a sentence or two. */
function essenceOf(
  { kind, state, step, total }: RunSummary,
  { contents, elapsed }: RunLog,
  left?: number,
): string {
  if (kind === "compare" && state === "finished")
    return `Finished after ${duration(elapsed)}. What came out is in comparison.html of its folder; the list has its trainings.`;
  const far = total > 0 ? `${step} of ${total}` : `${step}`;
  const so = {
    running: step > 0 ? `Running, at ${far}` : "Starting",
    finished: `Finished after ${duration(elapsed)}, at ${far}`,
    stopped: `Stopped at ${far}; the same command goes on from its last checkpoint`,
    killed: `Its process ended without a word at ${far}; the same command goes on from its last checkpoint`,
    damaged: "It cannot be read",
  }[state];
  const rest = left === undefined ? "" : `; about ${duration(left)} left`;
  const result = state === "finished" ? {} : undefined;
  const verdict = trainingVerdict({ kind, events: [...contents.evalEvents], result });
  return `${verdict ? `${verdict} ` : ""}${so}${rest}.`;
}

/** The settings that a run keeps; none where they cannot be read. */
export function configOf(folder: string): Record<string, unknown> {
  const path = join(folder, "config.json");
  // A link could name any file of this machine.
  if (!lstatSync(path, { throwIfNoEntry: false })?.isFile()) return {};
  try {
    return settingsIn(readRecord(path, z.record(z.string(), z.unknown())));
  } catch {
    return {}; // torn or damaged: the log has been read all the same, and the page says what it can
  }
}

/** The held-out samples of a run whose log has been read. */
export function sampleSets({ id }: FoundRun, { contents }: RunLog): SampleSet[] {
  return contents.samples.map(({ step, images, time }, set) => ({
    step,
    images: images.map(({ prompt, seed, score }, i) => ({
      prompt,
      seed,
      score,
      src: `/api/runs/${id}/samples/${set}/${i}?${versionOf(time.at)}`,
    })),
  }));
}

/** A picture that is drawn again has another address, so that none has to be asked for twice. */
const versionOf = (at: string): string => String(Date.parse(at) || 0);
