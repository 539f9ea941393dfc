// A training's run, finished or not, as a report. No tensor code.
import { basename, join, resolve } from "node:path";
import { UserError } from "@spo/torch/files";
import { type Event, fileOfRun, type RunRecord } from "../index.js";
import type { ChartGroup, ImagePair, ReportData, SampleRow, Strip } from "./data.js";
import { duration, short, type Unit, written } from "./numbers.js";
import { readStripFile, shownStrips, stripRounds } from "./strip-files.js";
import {
  accuracyCharts,
  guardCharts,
  heldOutCharts,
  spoCharts,
  stageWork,
  standingCharts,
  updateChart,
} from "./training-charts.js";

const TITLES: Record<string, string> = {
  "train spo": "SPO training",
  "train spm": "Training of a preference model",
  "train dpo": "Diffusion-DPO training",
};

/** Warnings that are shown. */
const WARNINGS = 8;

/** The report of a run of `spo train`, finished or not. Throws a UserError (`DATA`) for a run of another kind. */
export function runReport(run: RunRecord): ReportData {
  const title = TITLES[run.kind];
  if (title === undefined) {
    throw new UserError(`${run.folder} holds a run of ${run.kind}, of which there is no report.`, {
      code: "DATA",
      hint: `There are reports of ${Object.keys(TITLES).join(", ")} and of a quickstart.`,
    });
  }
  const samples = run.events.filter((event) => event.type === "sample");
  const engine = run.events.find((event) => event.type === "start");
  const { strips, faults } = stripsOf(run.folder);
  return {
    title: `${title}: ${basename(resolve(run.folder))}`,
    summary: `${summaryOf(run)}${dateOf(run)}`,
    verdict: trainingVerdict(run),
    figures: figuresOf(run),
    measures: [],
    pairCount: 0,
    pairs: beforeAndAfter(run.folder, samples),
    pairsAbout: run.config.heldOut
      ? "Prompts that were not trained on, by deterministic sampling: the two images of a pair start from the same noise; only the weights differ."
      : "The first of the prompts that are trained on: give others by --held-out. The two images of a pair start from the same noise; only the weights differ.",
    samples: sampleRows(run.folder, samples),
    strips,
    charts: chartsOf(run),
    work: [stageWork(run.kind, run.events)],
    settings: { [run.kind]: run.config },
    provenance: {
      ...(engine?.type === "start" ? engine.engine : {}),
      checkpoints: run.checkpoints.map(({ step }) => step).join(", ") || "none",
    },
    notes: [...faults, ...notesOf(run)],
  };
}

/** ` Begun on 2026-11-30.` by the machine's clock. */
function dateOf({ events }: RunRecord): string {
  const began = events[0]?.time.at.slice(0, 10);
  return began ? ` Begun on ${began}.` : "";
}

type Evaluation = Extract<Event, { type: "eval" }>;

/** First and last value of a metric among the measurements, and the steps of both. */
function change(evals: readonly Evaluation[], key: string) {
  const known = evals.filter(({ metrics }) => typeof metrics[key] === "number");
  const [first, last] = [known[0], known.at(-1)];
  if (!first || !last || first === last) return undefined;
  return { from: first.metrics[key] as number, to: last.metrics[key] as number, step: last.step };
}

/** What came out of a training so far, in a sentence, by its measurements; undefined where nothing was measured twice. */
export function trainingVerdict({
  kind,
  events,
  result,
}: Pick<RunRecord, "kind" | "events" | "result">): string | undefined {
  const stopped = events.findLast((event) => event.type === "guard" && event.action === "stop");
  if (stopped?.type === "guard")
    return `The guard stopped the training at ${stopped.step}. ${stopped.reason} The result has the weights of ${stopped.best}.`;
  const evals = events.filter((event) => event.type === "eval");
  const so = result ? "" : " so far";
  if (kind === "train spo") {
    const score = change(evals, "score");
    if (!score) {
      const drift = change(evals, "drift");
      return (
        drift &&
        `Nothing scored the held-out samples, which have moved from the base's by a drift of ${short(drift.to)}${so}: look whether they are better.`
      );
    }
    if (short(score.from) === short(score.to))
      return `The judge's score of the sampled prompts has not changed${so}: ${short(score.to)}.`;
    const moved = score.to > score.from ? "risen" : "fallen";
    return `The judge's score of the sampled prompts has ${moved} from ${short(score.from)} to ${short(score.to)}${so}: look whether the pictures are better, too.`;
  }
  if (kind === "train dpo") {
    const loss = change(evals, "loss");
    if (!loss)
      return "Nothing was measured on held-out pairs: the curves are of the training's own pairs, which it learns by heart. --eval-pairs measures others.";
    const better = loss.to < Math.LN2;
    const accuracy = evals.findLast(({ metrics }) => "accuracy" in metrics)?.metrics.accuracy;
    const told =
      typeof accuracy === "number" ? `, and ${written(accuracy, "share")} of them are told apart` : "";
    return `On held-out pairs the loss went from ${short(loss.from)} to ${short(loss.to)}${so}, ${better ? "below" : "not below"} ln 2 = 0.693${told}: ${better ? "it has learned more than its own pairs" : "no gain beyond its own pairs"}.`;
  }
  const clean = change(evals, "accuracy/t=0") ?? change(evals, Object.keys(evals[0]?.metrics ?? {})[0] ?? "");
  if (!clean) return undefined;
  return `On held-out pairs the accuracy went from ${written(clean.from, "share")} to ${written(clean.to, "share")}${so}${clean.to <= 0.5 ? ", which is no better than chance: SPO has nothing to learn from it" : ""}.`;
}

/** Key numbers: how far, how long, and the last of what is measured. */
function figuresOf({ kind, events }: RunRecord): { value: string; what: string }[] {
  const steps = events.filter((event) => event.type === "step");
  const last = steps.at(-1);
  if (!last) return [];
  const evals = events.filter((event) => event.type === "eval");
  const measured = (key: string, what: string, unit: Unit) => {
    const at = evals.findLast(({ metrics }) => typeof metrics[key] === "number");
    return at ? [{ value: written(at.metrics[key] as number, unit), what: `${what}, at ${at.step}` }] : [];
  };
  return [
    { value: `${last.step} of ${last.total}`, what: kind === "train spo" ? "rounds" : "updates" },
    { value: duration(secondsOf(events)), what: "elapsed" },
    ...(kind === "train spo"
      ? [
          ...measured("score", "judge's score of the samples", "number"),
          ...measured("drift", "drift", "number"),
        ]
      : []),
    ...(kind === "train dpo"
      ? [
          ...measured("loss", "loss on held-out pairs", "number"),
          ...measured("accuracy", "accuracy on held-out pairs", "share"),
        ]
      : []),
    ...(kind === "train spm" ? measured("accuracy/t=0", "accuracy on held-out clean pairs", "share") : []),
  ];
}

function summaryOf({ events, result, writer }: RunRecord): string {
  const last = events.findLast((event) => event.type === "step");
  const state = result ? "Finished" : writer === undefined ? "Stopped" : "Running";
  if (last?.type !== "step") return `${state}, before its first update.`;
  const spent = secondsOf(events);
  return `${state} at ${last.step} of ${last.total} after ${duration(spent)}; ${events.filter(({ type }) => type === "step").length} updates.`;
}

/** Of all processes that wrote the run; each counts from 0. */
function secondsOf(events: readonly Event[]): number {
  return events.reduce((sum, { time }, i) => {
    const next = events[i + 1]?.time;
    return next && next.wall >= time.wall ? sum : sum + time.wall;
  }, 0);
}

function notesOf({ events, faults }: RunRecord): string[] {
  const warnings = [...new Set(events.flatMap((event) => (event.type === "warn" ? [event.message] : [])))];
  const guarded = events.flatMap((event) =>
    event.type === "guard" && event.action === "lower"
      ? [`At ${event.step} the guard lowered the learning rate. ${event.reason}`]
      : [],
  );
  const more =
    warnings.length > WARNINGS ? [`${warnings.length - WARNINGS} more warnings are in events.jsonl.`] : [];
  return [
    ...faults.map((fault) => `Damaged in events.jsonl: ${fault}`),
    ...guarded,
    ...warnings.slice(0, WARNINGS),
    ...more,
  ];
}

const guardGroup = (events: readonly Event[]): ChartGroup => ({
  title: "Guards",
  about: "What shows first where a judge is exploited, on samples of the same prompts from the same noise.",
  charts: guardCharts(events),
});

function chartsOf({ kind, events, config }: RunRecord): ChartGroup[] {
  if (kind === "train spo") {
    return [
      {
        title: "What the policy learns",
        about: `Update by update. The clip is at ±${config.clip}, the threshold of a pair at ${config.threshold}; gradients are ${config.maxGradNorm === null ? "not clipped, as the published run in effect had it" : `clipped to the norm ${config.maxGradNorm}`}.`,
        charts: spoCharts(events),
      },
      {
        title: "How far it has gone",
        about:
          "Measured on the same prompts from the same noise, before the training and again and again within.",
        charts: standingCharts(events),
      },
      guardGroup(events),
    ];
  }
  const loss = updateChart(events, {
    title: "Loss",
    caption: "Of each update.",
    y: { label: "loss" },
    curves: [{ name: "loss", tone: "spo", key: "loss" }],
  });
  const accuracy = updateChart(events, {
    title: "Accuracy",
    caption: "Share of the update's pairs that are told apart as labelled.",
    y: { label: "accuracy", share: true },
    curves: [{ name: "accuracy", tone: "spo", key: "accuracy" }],
    reference: { y: 0.5, label: "chance" },
  });
  return [
    { title: "Update by update", about: "", charts: [loss, accuracy] },
    ...(kind === "train dpo"
      ? [
          {
            title: "On held-out pairs",
            about:
              "Pairs of prompts that were not trained on, always with the same timesteps and noise. These figures count, not those of the training's own pairs, which it learns by heart.",
            charts: heldOutCharts(events),
          },
          guardGroup(events),
        ]
      : []),
    ...(kind === "train spm"
      ? [
          {
            title: "On held-out pairs",
            about: "Pairs of prompts that were not trained on.",
            charts: accuracyCharts(events),
          },
        ]
      : []),
  ];
}

type SampleEvent = Extract<Event, { type: "sample" }>;

/** A page holds some dozens of them. */
const MOST_IMAGE_BYTES = 20e6;
const imageOf = (folder: string, file: string): Uint8Array | undefined =>
  fileOfRun(folder, file, MOST_IMAGE_BYTES);

/** The first samples, which are the base's, beside the last. */
function beforeAndAfter(folder: string, samples: readonly SampleEvent[]): ImagePair[] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (!first || !last || first === last) return [];
  return first.images.flatMap(({ file, prompt, seed }) => {
    const after = last.images.find((image) => image.prompt === prompt);
    const [base, spo] = [imageOf(folder, file), after && imageOf(folder, after.file)];
    return base && spo ? [{ prompt, seed, base, spo }] : [];
  });
}

/** Rounds whose samples stand side by side. */
const COLUMNS = 8;

/** Each prompt's samples from the first to the last, evenly over the run. */
function sampleRows(folder: string, samples: readonly SampleEvent[]): SampleRow[] {
  if (samples.length < 3) return []; // two are the pairs already
  const count = Math.min(COLUMNS, samples.length);
  const shown = Array.from(
    { length: count },
    (_, i) => samples[Math.round((i * (samples.length - 1)) / (count - 1))] as SampleEvent,
  );
  return (shown[0] as SampleEvent).images.map(({ prompt }) => ({
    prompt,
    images: shown.flatMap(({ step, images }) => {
      const found = images.find((image) => image.prompt === prompt);
      const png = found && imageOf(folder, found.file);
      return png ? [{ step, png }] : [];
    }),
  }));
}

/**
 * Candidates of the first round, where the policy is the base, and of the last round that was kept; damaged files are skipped and reported.
 */
function stripsOf(folder: string): { strips: Strip[]; faults: string[] } {
  const rounds = stripRounds(join(folder, "strips"));
  const faults: string[] = [];
  const strips = [...new Set([rounds[0], rounds.at(-1)])].flatMap((kept) => {
    if (!kept) return [];
    try {
      return shownStrips(readStripFile(kept.file)).map(({ prompt, rows }) => ({
        prompt,
        note: `round ${kept.round + 1}`,
        rows,
      }));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      faults.push(error.message);
      return [];
    }
  });
  return { strips, faults };
}
