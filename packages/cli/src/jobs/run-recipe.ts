// Runs a recipe in a run's folder: progress on stderr, events on stdout with --json, a clean end on Ctrl-C.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { Run } from "@spo/records";
import { withoutPlaces } from "@spo/records/config";
import { kebabCase } from "@spo/records/spelling";
import { answerSignals, engineFacts } from "@spo/torch";
import { type ChosenBackend, launchPlace } from "@spo/torch/distributed";
import { requirePlace } from "@spo/torch/files";
import {
  ownDevice,
  type RecipeEvent,
  type RecipeOptions,
  requireSameWork,
  runSettings,
  StopAsked,
} from "spo/recipes";
import type { z } from "zod";
import type { CommonOptions } from "../options/common-options.js";
import { Interruption, interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson } from "../terminal/terminal.js";
import { metricWords, TrainingProgress } from "../terminal/training-progress.js";
import { endWords, resultWords } from "./end-of-training.js";
import { openWorld } from "./open-world.js";
import { TraceFile } from "./trace-file.js";

/** Between two phases of one name in the output of --json. */
const JSON_PHASE_MS = 1000;

export interface RecipeCall<Config extends { device?: string }> extends CommonOptions {
  /** The `kind` in the run's config, e.g. `train spo`. */
  kind: string;
  recipe: (config: Config, options: RecipeOptions) => AsyncGenerator<RecipeEvent>;
  /** Of its config. */
  schema: z.ZodType;
  config: Config;
  folder: string;
  /** Whether `profile.json` of the folder tells what was done when. */
  profile?: boolean;
}

/**
 * Starts or resumes a run; a finished one is only reported. Throws the signal's Interruption after the checkpoint. Of several
 * processes that a launcher started, rank 0 alone speaks.
 */
export async function runRecipe<Config extends { device?: string }>({
  kind,
  recipe,
  schema,
  config,
  folder,
  profile,
  json,
  quiet,
}: RecipeCall<Config>): Promise<void> {
  const place = launchPlace(process.env);
  const device = ownDevice(config.device ?? "cpu", { size: 1, localRank: 0, ...place }, process.env);
  const world = await openWorld(kind, place, { device });
  // Once more by the recipe, with what it makes of them; here before anything is read, however long that takes.
  const { device: _, ...work } = config;
  await requireSameWork(world, withoutPlaces(schema, work), {});
  const speaks = world.rank === 0;
  const bar = new ProgressBar({ quiet: quiet || !speaks });
  const progress = new TrainingProgress(bar, kind);
  if (place && world.size > 1 && speaks)
    bar.say(`rank, processes, host and port of rank 0: ${place.sources.join(", ")}`);
  if (speaks && device !== "cpu" && world.backend) bar.say(backendWords(world.backend));
  const putEvent = (event: RecipeEvent): void => {
    if (json) putJson({ schema: "spo.event/1", ...event });
  };
  const isNew = !existsSync(join(folder, "config.json"));
  const settings = runSettings(kind, schema, config);
  const [ended] = await world.gather(speaks ? Run.ended(folder, settings) : undefined);
  if (ended?.type === "done") {
    const length = settings.mayChange?.length;
    const more = length
      ? `More ${length} go on from there; another --run starts anew`
      : "Another --run starts anew";
    bar.say(`${folder} is finished: ${resultWords(ended.result)}. ${more}.`);
    putEvent(ended);
    return world.close();
  }
  if (speaks) requirePlace(folder, "folder");
  using run = speaks
    ? Run.open(folder, { ...settings, engine: engineFacts(), onDoubt: (words) => bar.say(words) })
    : Run.follow(folder);
  using trace = profile && speaks ? new TraceFile(join(folder, "profile.json")) : undefined;
  if (!isNew) bar.say(`going on with ${folder}`);
  const tell = (event: RecipeEvent): void => {
    if (!speaks) return;
    if (event.type === "step") trace?.step(event.step);
    putEvent(event);
    show(bar, progress, event);
  };
  const told = { name: "", at: 0 };
  // Called during the recipe's work. With --json at most once a second: a step of a large batch has thousands of parts.
  const onPhase = (event: RecipeEvent): void => {
    if (event.type !== "phase" || !speaks) return;
    const now = performance.now();
    if (told.name !== event.name || now - told.at > JSON_PHASE_MS) {
      putEvent(event);
      Object.assign(told, { name: event.name, at: now });
    }
    progress.phase(event);
  };
  const signal = interruptible((text) => bar.say(text), answerSignals);
  try {
    for await (const event of recipe(config, { run, signal, world, onPhase })) {
      tell(event);
      await setImmediate(); // lets signals and timers run
    }
  } catch (error) {
    for (const event of run.takeUntold()) tell(event); // these events may explain the error
    bar.end();
    const isAsked = error instanceof StopAsked;
    if ((isAsked || (signal.aborted && error === signal.reason)) && speaks) bar.say(stoppedWords(run));
    else if (isNew && speaks) run.discardUnused();
    throw isAsked ? new Interruption("SIGTERM", error.message) : error;
  }
  await world.close();
  bar.end();
  if (!speaks) return;
  for (const line of endWords({ kind, config, folder, events: run.events() })) bar.say(line);
}

/** Shows an event that the run has recorded. */
function show(bar: ProgressBar, progress: TrainingProgress, event: RecipeEvent): void {
  if (event.type === "phase") {
    bar.advance({ stage: event.name, done: event.done, total: event.total });
  } else if (event.type === "step") {
    progress.step(event);
  } else if (event.type === "warn") {
    bar.say(`warning: ${event.message}`);
  } else if (event.type === "settings") {
    for (const [name, { from, to }] of Object.entries(event.changes))
      bar.say(
        `--${kebabCase(name)} is ${JSON.stringify(to)} from step ${event.step} on; it was ${JSON.stringify(from)}`,
      );
  } else if (event.type === "guard") {
    bar.say(
      `guard, at step ${event.step}: ${event.action === "stop" ? "stopping" : "lowering the learning rate"}. ${event.reason}`,
    );
  } else if (event.type === "eval") {
    bar.say(`step ${event.step}: ${metricWords(event.metrics, 8)}`);
  }
}

/** How gradients go from GPU to GPU, for people. */
const backendWords = ({ name, why }: ChosenBackend): string =>
  name === "nccl"
    ? "tensors go from GPU to GPU (NCCL)"
    : `tensors of GPUs go over the CPU's memory (gloo)${why ? `: ${why}` : ""}`;

function stoppedWords(run: Run): string {
  const saved = run.events().findLast((event) => event.type === "checkpoint");
  const kept =
    saved?.type === "checkpoint" ? `its state is kept at step ${saved.step}` : "no step was done yet";
  return `stopped; ${kept}. The same command goes on from there.`;
}
