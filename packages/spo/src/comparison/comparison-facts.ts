// The contents of a comparison's JSON file: all that its page shows, without the images.
import { cpus, totalmem } from "node:os";
import type { Estimate } from "@spo/records";
import { withoutPlaces } from "@spo/records/config";
import { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { CompareConfig, METHODS, type Method } from "./compare-config.js";
import {
  atEqual,
  curvesOf,
  type Findings,
  type LeadFound,
  leads,
  type Row,
  rows,
  SPENDINGS,
  type Spending,
  spoOverDpo,
} from "./comparison.js";
import { type Band, band } from "./curves.js";
import type { ImageVerdict } from "./image-judge.js";
import { addSpent, type FlopsOfPasses, flopsOf, nothingSpent, type Spent } from "./spent.js";

export interface ShownCurve {
  method: Method;
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
  /** SPO preferred to Diffusion-DPO, image by image. */
  spoOverDpo: Estimate;
  leads: LeadFound[];
  curves: ShownCurve[];
  atEqual: Record<Spending, { x: number; base: number; dpo: number; spo: number }[]>;
  baseValidation: number;
  trials: Record<Method, ShownTrial[]>;
  settings: Record<string, object>;
  runs: Record<Method, ShownRun[]>;
  /** Passes and time of the preference model, and of a final run: the mean of the seeds. */
  work: {
    stage: string;
    seconds: number;
    cpuSeconds: number;
    teraFlops: number;
    passes: Record<string, number>;
  }[];
  flopsOfPasses: FlopsOfPasses;
  /** Scores of each image of the report, by model; images in the order of `images`. */
  images: { prompt: string; seed: number }[];
  scores: { base: number[]; dpo: number[][]; spo: number[][] };
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
  const { base, spm, methods, flops } = findings;
  const stage = (name: string, spent: Spent): ComparisonFacts["work"][number] => ({
    stage: name,
    seconds: spent.wall,
    cpuSeconds: spent.cpu,
    teraFlops: flopsOf(spent, flops) / 1e12,
    passes: Object.fromEntries(Object.entries(spent.passes).filter(([, count]) => count > 0)),
  });
  const each = <T>(of: (method: Method) => T): Record<Method, T> =>
    Object.fromEntries(METHODS.map((method) => [method, of(method)])) as Record<Method, T>;
  return {
    schema: "spo.compare/1",
    clock: config.clock === "wall" ? "seconds" : "cpuSeconds",
    rows: rows(findings),
    spoOverDpo: spoOverDpo(findings),
    leads: leads(findings),
    curves: SPENDINGS.flatMap((spending) =>
      [true, false].flatMap((withPreference) =>
        METHODS.filter((method) => withPreference || method === "spo").map(
          (method): ShownCurve => ({
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
    trials: each((method) =>
      methods[method].trials.map(({ settings, runs }, i) => ({
        settings,
        isChosen: i === methods[method].chosen,
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
      "Diffusion-DPO": methods.dpo.settings,
      SPO: methods.spo.settings,
      "preference model": withoutPlaces(TrainSpmConfig, config.spm),
    },
    runs: each((method) =>
      methods[method].runs.map(({ seed, chosen, checkpoints }) => ({
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
      stage("preference model", spm),
      stage("SPO, one run", meanSpent(methods.spo.runs.map(({ checkpoints }) => checkpoints.at(-1)?.spent))),
      stage(
        "Diffusion-DPO, one run",
        meanSpent(methods.dpo.runs.map(({ checkpoints }) => checkpoints.at(-1)?.spent)),
      ),
    ],
    flopsOfPasses: flops,
    images: base.report.map(({ prompt, seed }) => ({ prompt, seed })),
    scores: {
      base: rounded(base.report),
      dpo: methods.dpo.runs.map(({ report }) => rounded(report)),
      spo: methods.spo.runs.map(({ report }) => rounded(report)),
    },
    counts: {
      images: base.report.length,
      prompts: new Set(base.report.map(({ prompt }) => prompt)).size,
      seeds: methods.spo.runs.length,
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
