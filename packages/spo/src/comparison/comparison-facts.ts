// The contents of a comparison's JSON file: all that its page shows, without the images.
import { cpus, totalmem } from "node:os";
import type { Estimate } from "@spo/records";
import { withoutPlaces } from "@spo/records/config";
import { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { CompareConfig } from "./compare-config.js";
import {
  atEqual,
  curvesOf,
  type Findings,
  type LeadFound,
  leads,
  type MethodOutcome,
  overDpo,
  type Row,
  rows,
  SPENDINGS,
  type Spending,
  waysOfSpo,
} from "./comparison.js";
import { type Band, band } from "./curves.js";
import type { ImageVerdict } from "./image-judge.js";
import { addSpent, type FlopsOfPasses, flopsOf, nothingSpent, type Spent } from "./spent.js";

export interface ShownCurve {
  method: string;
  spending: Spending;
  withPreference: boolean;
  points: Band[];
}

export interface ShownTrial {
  settings: Record<string, unknown>;
  isChosen: boolean;
  /** Checkpoints of each seed's run. */
  runs: { step: number; seconds: number; cpuSeconds: number; validation: number }[][];
}

export interface ShownRun {
  seed: number;
  /** The place of the checkpoint that the validator chose. */
  chosen: number;
  checkpoints: {
    step: number;
    seconds: number;
    cpuSeconds: number;
    teraFlops: number;
    validation: number;
    score: number;
    onPrompt?: number;
  }[];
}

/** All figures of `comparison.json`, from which the page is made. */
export interface ComparisonFacts {
  schema: "spo.compare/1";
  /** The kind of seconds by which trainings ended; shown first. */
  clock: "seconds" | "cpuSeconds";
  /** Of the reporting judge, on held-out prompts. */
  rows: Row[];
  /** SPO preferred to Diffusion-DPO, image by image; and each variant of SPO, by its name. */
  spoOverDpo: Estimate;
  variantsOverDpo: Record<string, Estimate>;
  leads: LeadFound[];
  curves: ShownCurve[];
  atEqual: Record<Spending, ({ x: number; base: number } & Record<string, number>)[]>;
  baseValidation: number;
  trials: Record<string, ShownTrial[]>;
  settings: Record<string, object>;
  runs: Record<string, ShownRun[]>;
  /** Passes and time of the preference models, and of a final run: the mean of the seeds. */
  work: {
    stage: string;
    seconds: number;
    cpuSeconds: number;
    teraFlops: number;
    passes: Record<string, number>;
    flopsOfPasses: FlopsOfPasses;
  }[];
  /** Scores of each image of the report, by model; images in the order of `images`. */
  images: { prompt: string; seed: number }[];
  scores: { base: number[] } & Record<string, number[] | number[][]>;
  counts: { images: number; prompts: number; seeds: number };
  config: object;
  provenance: Record<string, string | number>;
}

/** The figures of the report from what a comparison found. engine: versions and machine, as they are to stand in the report. */
export function comparisonFacts(
  findings: Findings,
  config: CompareConfig,
  engine: Record<string, string | number>,
): ComparisonFacts {
  const { base, methods } = findings;
  const stage = (name: string, spent: Spent, flops: FlopsOfPasses): ComparisonFacts["work"][number] => ({
    stage: name,
    seconds: spent.wall,
    cpuSeconds: spent.cpu,
    teraFlops: flopsOf(spent, flops) / 1e12,
    passes: Object.fromEntries(Object.entries(spent.passes).filter(([, count]) => count > 0)),
    flopsOfPasses: flops,
  });
  const each = <T>(of: (outcome: MethodOutcome) => T): Record<string, T> =>
    Object.fromEntries(Object.entries(methods).map(([name, outcome]) => [name, of(outcome)]));
  const [first, ...variants] = waysOfSpo(findings) as [string, ...string[]];
  return {
    schema: "spo.compare/1",
    clock: config.clock === "wall" ? "seconds" : "cpuSeconds",
    rows: rows(findings),
    spoOverDpo: overDpo(findings, first),
    variantsOverDpo: Object.fromEntries(variants.map((way) => [way, overDpo(findings, way)])),
    leads: leads(findings),
    curves: SPENDINGS.flatMap((spending) =>
      [true, false].flatMap((withPreference) =>
        Object.entries(methods)
          .filter(([, { preference }]) => withPreference || preference)
          .map(
            ([method]): ShownCurve => ({
              method,
              spending,
              withPreference,
              points: band(curvesOf(findings, method, { spending, withPreference })),
            }),
          ),
      ),
    ),
    atEqual: Object.fromEntries(
      SPENDINGS.map((spending) => [spending, atEqual(findings, spending)]),
    ) as ComparisonFacts["atEqual"],
    baseValidation: base.validation,
    trials: each(({ trials, chosen }) =>
      trials.map(({ settings, runs }, i) => ({
        settings,
        isChosen: i === chosen,
        runs: runs.map((run) =>
          run.map(({ step, spent, validation }) => ({
            step,
            seconds: spent.wall,
            cpuSeconds: spent.cpu,
            validation,
          })),
        ),
      })),
    ),
    settings: {
      ...Object.fromEntries(Object.values(methods).map(({ title, settings }) => [title, settings])),
      ...Object.fromEntries(
        preferencesOf(findings).map(({ name, settings }) => [name, withoutPlaces(TrainSpmConfig, settings)]),
      ),
    },
    runs: each(({ runs, flops }) =>
      runs.map(({ seed, chosen, checkpoints }) => ({
        seed,
        chosen,
        checkpoints: checkpoints.map(({ step, spent, validation, curve }) => ({
          step,
          seconds: spent.wall,
          cpuSeconds: spent.cpu,
          teraFlops: flopsOf(spent, flops) / 1e12,
          validation,
          score: meanOf(curve, ({ score }) => score),
          onPrompt: curve.every(({ onPrompt }) => onPrompt !== undefined)
            ? meanOf(curve, ({ onPrompt }) => Number(onPrompt))
            : undefined,
        })),
      })),
    ),
    work: [
      ...preferencesOf(findings).map(({ name, spent, flops }) => stage(name, spent, flops)),
      ...Object.values(methods)
        .reverse()
        .map(({ title, runs, flops }) =>
          stage(
            `${title}, one run`,
            meanSpent(runs.map(({ checkpoints }) => checkpoints.at(-1)?.spent)),
            flops,
          ),
        ),
    ],
    images: base.report.map(({ prompt, seed }) => ({ prompt, seed })),
    scores: {
      base: rounded(base.report),
      ...each(({ runs }) => runs.map(({ report }) => rounded(report))),
    },
    counts: {
      images: base.report.length,
      prompts: new Set(base.report.map(({ prompt }) => prompt)).size,
      seeds: methods[first]?.runs.length ?? 0,
    },
    config: withoutPlaces(CompareConfig, config), // without paths, because a report is shown on other machines
    provenance: {
      ...engine,
      processor: `${cpus()[0]?.model ?? "unknown"}, ${cpus().length} cores`,
      memory: `${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
      "processes at a time": config.jobs,
      ...(config.threads === undefined ? {} : { "threads of each": config.threads }),
      date: new Date().toISOString().slice(0, 10),
    },
  };
}

/** The preference models, each once; one that several methods share is the first one's. */
function preferencesOf({
  methods,
}: Findings): { name: string; spent: Spent; settings: object; flops: FlopsOfPasses }[] {
  const known = new Set<Spent>();
  return Object.values(methods).flatMap(({ title, preference, flops }) => {
    if (!preference || known.has(preference.spent)) return [];
    const name = known.size === 0 ? "preference model" : `preference model of ${title}`;
    known.add(preference.spent);
    return [{ name, ...preference, flops }];
  });
}

const meanOf = <T>(list: readonly T[], of: (entry: T) => number): number =>
  list.reduce((sum, entry) => sum + of(entry), 0) / list.length;

const rounded = (images: readonly ImageVerdict[]): number[] =>
  images.map(({ score }) => Number(score.toFixed(4)));

function meanSpent(all: readonly (Spent | undefined)[]): Spent {
  const known = all.filter((spent) => spent !== undefined);
  const sum = known.reduce(addSpent, nothingSpent());
  const share = (value: number): number => value / known.length;
  return {
    wall: share(sum.wall),
    cpu: share(sum.cpu),
    passes: Object.fromEntries(
      Object.entries(sum.passes).map(([pass, count]) => [pass, Math.round(share(count))]),
    ) as Spent["passes"],
  };
}
