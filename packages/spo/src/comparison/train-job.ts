import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Event, listCheckpoints, Run } from "@spo/records";
import { engineFacts } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { pathsOf } from "../recipes/config-paths.js";
import type { RecipeEvent } from "../recipes/recipe.js";
import { trainDpo } from "../recipes/train-dpo/train-dpo.js";
import { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import { trainSpm } from "../recipes/train-spm/train-spm.js";
import { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { trainSpo } from "../recipes/train-spo/train-spo.js";
import { TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { BEST_WEIGHTS } from "../recipes/training/guard.js";
import { STATE_FILE } from "../recipes/training/training-state.js";
import type { JobProgress, PolicyTraining, SpmTraining } from "./jobs.js";
import { readSnapshot, takeSnapshot } from "./snapshot.js";
import { SpentMeter } from "./spent.js";

export async function* trainPreferenceModel(
  { folder, config }: SpmTraining,
  signal: AbortSignal,
): AsyncGenerator<JobProgress> {
  using run = Run.open(folder, {
    kind: "train spm",
    config,
    mapPaths: pathsOf(TrainSpmConfig),
    engine: engineFacts(),
  });
  if (run.result()) return;
  for await (const event of trainSpm(config, { run, signal })) {
    await setImmediate(); // lets messages arrive
    if (event.type === "warn") yield { done: 0, total: 0, warning: event.message };
    if (event.type === "step") yield { done: event.step, total: event.total, detail: detailOf(event) };
  }
}

/**
 * Goes on with a training until `seconds` are spent, then has it save, as Ctrl-C does, and takes a snapshot. The next part of the same
 * training goes on from there, bit for bit. From a guard's stop on, the snapshot is of its best weights.
 */
export async function* trainPolicy(job: PolicyTraining, signal: AbortSignal): AsyncGenerator<JobProgress> {
  if (readSnapshot(job.snapshot)) return;
  const { folder, config, train, seconds, clock } = job;
  using run = Run.open(folder, {
    kind: `train ${train}`,
    config,
    mapPaths: pathsOf(train === "dpo" ? TrainDpoConfig : TrainSpoConfig),
    engine: engineFacts(),
  });
  let meter = new SpentMeter(eventsUpToCheckpoint(run));
  if (!run.result() && meter.spent[clock] < seconds) {
    let isFirst = true;
    const controller = new AbortController();
    const ended = new Error("the time of this part is spent");
    signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true });
    if (signal.aborted) controller.abort(signal.reason);
    const context = { run, signal: controller.signal };
    try {
      for await (const event of train === "dpo"
        ? trainDpo(job.config, context)
        : trainSpo(job.config, context)) {
        // The first event does not include the start before it; the log does.
        if (isFirst) meter = new SpentMeter(eventsUpTo(event, run));
        else meter.add(event);
        isFirst = false;
        if (event.type === "warn") yield { done: 0, total: 0, warning: event.message };
        if (event.type === "step")
          yield { done: Math.min(meter.spent[clock], seconds), total: seconds, detail: detailOf(event) };
        await setImmediate();
        if (meter.spent[clock] >= seconds) controller.abort(ended);
      }
    } catch (error) {
      if (error !== ended) throw error;
    }
  }
  const stop = run.events().findLast((event) => event.type === "guard" && event.action === "stop");
  if (stop?.type === "guard") {
    const weights = join(run.best(stop.best), BEST_WEIGHTS);
    takeSnapshot(job.snapshot, weights, { step: stop.best, spent: meter.spent });
    return;
  }
  const checkpoint = listCheckpoints(join(folder, "checkpoints")).at(-1);
  if (!checkpoint) {
    throw new UserError(`${folder}: no step of this training fits into ${seconds} s.`, {
      code: "CONFIG",
      hint: "Give it more seconds.",
    });
  }
  const state = join(checkpoint.folder, STATE_FILE);
  takeSnapshot(job.snapshot, state, { step: checkpoint.step, spent: meter.spent });
}

/** The events up to the newest checkpoint. Those after it were lost with their process and will be cut off. */
function eventsUpToCheckpoint(run: Run): Event[] {
  const events = run.events();
  const saved = events.findLast((event) => event.type === "checkpoint")?.step ?? -1;
  // It is written while later steps are computed, so its own event may come after theirs.
  const last = events.findLastIndex(
    (event) => event.type !== "checkpoint" && "step" in event && event.step <= saved,
  );
  return events.slice(0, last + 1);
}

/** When several events come at once, the later ones are in the log before the loop gets them. */
function eventsUpTo(event: Event, run: Run): Event[] {
  const [events, text] = [run.events(), JSON.stringify(event)];
  return events.slice(0, events.findLastIndex((each) => JSON.stringify(each) === text) + 1);
}

function detailOf({ metrics }: RecipeEvent & { type: "step" }): string {
  const { loss, accuracy } = metrics;
  const words = [
    ["loss", loss, 4],
    ["accuracy", accuracy, 2],
  ] as const;
  return words
    .flatMap(([name, value, digits]) =>
      typeof value === "number" ? [`${name} ${value.toFixed(digits)}`] : [],
    )
    .join(", ");
}
