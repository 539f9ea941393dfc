// What a comparison found, as its JSON file has it.

import { bootstrapMean, type Estimate, mean, signTest, winRate } from "@spo/records";
import { type Curve, type Lead, leadOver, qualityAt } from "./curves.js";
import type { ImageVerdict } from "./image-judge.js";
import type { ImageMeasures } from "./image-measures.js";
import type { Snapshot } from "./snapshot.js";
import { addSpent, type FlopsOfPasses, flopsOf, nothingSpent, type Spent } from "./spent.js";

/** A checkpoint by the judge that chooses, on training prompts. */
export interface Validated extends Snapshot {
  validation: number;
}

export interface Trial {
  /** What was tried, over the method's common settings. */
  settings: Record<string, unknown>;
  /** Checkpoints of each seed's run. */
  runs: Validated[][];
}

export interface FinalRun {
  seed: number;
  /** curve: what the reporting judge says of each, on held-out prompts. */
  checkpoints: (Validated & { curve: ImageVerdict[] })[];
  /** The place of the checkpoint that the validator likes best, and its images. */
  chosen: number;
  report: ImageVerdict[];
}

export interface MethodOutcome {
  /** What the report calls it. */
  title: string;
  /** What its preference model's training spent, and some of its settings; absent: it has none. */
  preference?: { spent: Spent; settings: object };
  trials: Trial[];
  /** The place of the trial whose settings the final runs have. */
  chosen: number;
  settings: object;
  runs: FinalRun[];
  /** Of its passes, its preference model's among them. */
  flops: FlopsOfPasses;
}

export interface Findings {
  base: { validation: number; curve: ImageVerdict[]; report: ImageVerdict[] };
  /** By name, in the order of the report; `dpo` and `spo` are among them. */
  methods: Readonly<Record<string, MethodOutcome>>;
}

const outcomeOf = ({ methods }: Findings, method: string): MethodOutcome => {
  const found = methods[method];
  if (!found) throw new Error(`no method ${method}`);
  return found;
};

export const bestOf = (checkpoints: readonly Validated[]): number =>
  checkpoints.reduce(
    (best, { validation }, i) => (validation > (checkpoints[best] as Validated).validation ? i : best),
    0,
  );

/** The index of the trial whose runs' best checkpoints have the best mean. */
export const bestTrial = (trials: readonly Trial[]): number => {
  const best = (run: readonly Validated[]): number => (run[bestOf(run)] as Validated).validation;
  const qualities = trials.map(({ runs }) => mean(runs.map(best)));
  return qualities.indexOf(Math.max(...qualities));
};

export const quality = (images: readonly ImageVerdict[]): number => mean(images.map(({ score }) => score));

/** The x axis of a curve. */
export type Spending = "seconds" | "cpuSeconds" | "teraFlops";
export const SPENDINGS: readonly Spending[] = ["seconds", "cpuSeconds", "teraFlops"];

function spentOn(spending: Spending, spent: Spent, flops: FlopsOfPasses): number {
  switch (spending) {
    case "seconds":
      return spent.wall;
    case "cpuSeconds":
      return spent.cpu;
    case "teraFlops":
      return flopsOf(spent, flops) / 1e12;
  }
}

/**
 * Quality of each run over its cost. withPreference: a method's curves begin at the cost of its preference model; before that, it is as
 * good as the base.
 */
export function curvesOf(
  findings: Findings,
  method: string,
  { spending, withPreference }: { spending: Spending; withPreference: boolean },
): Curve[] {
  const { preference, runs, flops } = outcomeOf(findings, method);
  const spm = withPreference ? preference?.spent : undefined;
  const before = spm ?? nothingSpent();
  const start = quality(findings.base.curve);
  return runs.map(({ checkpoints }) => [
    { x: 0, quality: start },
    ...(spm ? [{ x: spentOn(spending, spm, flops), quality: start }] : []),
    ...checkpoints.map(({ spent, curve }) => ({
      x: spentOn(spending, addSpent(before, spent), flops),
      quality: quality(curve),
    })),
  ]);
}

/** Mean of the runs at each checkpoint. Runs have spent nearly the same at the same checkpoint. */
function meanCurve(curves: readonly Curve[]): Curve {
  const places = Math.min(...curves.map((curve) => curve.length));
  return Array.from({ length: places }, (_, i) => ({
    x: mean(curves.map((curve) => (curve[i] as Curve[number]).x)),
    quality: mean(curves.map((curve) => (curve[i] as Curve[number]).quality)),
  }));
}

export interface LeadFound {
  spending: Spending;
  withPreference: boolean;
  /** The method whose cost is measured until it is as good as `over` at its best. */
  method: string;
  over: string;
  /** Of the mean curves; absent when the other is never better than the base. */
  lead?: Lead;
  /** The ratio of each seed's two runs; null when this method is never as good, absent when the other is never better than the base. */
  bySeed: (number | null | undefined)[];
}

/** Each way of SPO over Diffusion-DPO, and Diffusion-DPO over each. */
export function leads(findings: Findings): LeadFound[] {
  const start = quality(findings.base.curve);
  const races = waysOfSpo(findings).flatMap((way): [method: string, over: string][] => [
    ["dpo", way],
    [way, "dpo"],
  ]);
  return SPENDINGS.flatMap((spending) =>
    [true, false].flatMap((withPreference) =>
      races.map(([method, over]): LeadFound => {
        const [own, other] = ([method, over] as const).map((each) =>
          curvesOf(findings, each, { spending, withPreference }),
        ) as [Curve[], Curve[]];
        const bySeed = own.map((curve, i) => {
          const lead = leadOver(curve, other[i] as Curve, start);
          return lead && (lead.ratio ?? null);
        });
        return {
          spending,
          withPreference,
          method,
          over,
          lead: leadOver(meanCurve(own), meanCurve(other), start),
          bySeed,
        };
      }),
    ),
  );
}

/** SPO and its variants. */
export const waysOfSpo = ({ methods }: Pick<Findings, "methods">): string[] =>
  Object.keys(methods).filter((method) => method !== "dpo");

/** One model's measures on held-out prompts. */
export interface Row {
  /** `base`, or a method's. */
  name: string;
  title: string;
  score: Estimate;
  onPrompt?: Estimate;
  /** Against the base, image by image from the same noise, all seeds together. */
  wins?: Estimate;
  /** Two-sided p of the sign test against the base, on each image's mean over the seeds; and on each prompt's. */
  signTest?: { images: number; byImage: number; prompts: number; byPrompt: number };
  /** On-prompt share less the base's. */
  onPromptChange?: Estimate;
  /** Means over the images; where a report holds them. */
  measures?: Record<keyof ImageMeasures, Estimate>;
  /** Of each seed's run. */
  seeds?: { seed: number; score: number; onPrompt?: number; wins: number }[];
}

export function rows({ base, methods }: Findings): Row[] {
  const named = Object.entries(methods);
  const options = (images: readonly ImageVerdict[]) => ({ groups: images.map(({ prompt }) => prompt) });
  const shares = (images: readonly ImageVerdict[]): number[] | undefined =>
    images.every(({ onPrompt }) => onPrompt !== undefined)
      ? images.map(({ onPrompt }) => Number(onPrompt))
      : undefined;
  const scores = (images: readonly ImageVerdict[]): number[] => images.map(({ score }) => score);
  const row = (name: string, title: string, images: readonly ImageVerdict[]): Row => {
    const right = shares(images);
    return {
      ...{ name, title },
      score: bootstrapMean(scores(images), options(images)),
      onPrompt: right && bootstrapMean(right, options(images)),
      measures: measuresOf(images),
    };
  };
  return [
    row("base", "base", base.report),
    ...named.map(([method, { title, runs }]): Row => {
      const all = runs.flatMap(({ report }) => report);
      const before = runs.flatMap(() => base.report);
      const perImage = base.report.map((_, i) =>
        mean(runs.map(({ report }) => (report[i] as ImageVerdict).score)),
      );
      const change = shares(all)?.map((right, i) => right - Number((before[i] as ImageVerdict).onPrompt));
      const prompts = [...new Set(base.report.map(({ prompt }) => prompt))];
      const byPrompt = (values: readonly number[]): number[] =>
        prompts.map((prompt) => mean(values.filter((_, i) => base.report[i]?.prompt === prompt)));
      return {
        ...row(method, title, all),
        wins: winRate(scores(before), scores(all), options(all)),
        signTest: {
          images: base.report.length,
          byImage: signTest(scores(base.report), perImage),
          prompts: prompts.length,
          byPrompt: signTest(byPrompt(scores(base.report)), byPrompt(perImage)),
        },
        onPromptChange: change && bootstrapMean(change, options(all)),
        seeds: runs.map(({ seed, report }) => {
          const right = shares(report);
          return {
            seed,
            score: quality(report),
            onPrompt: right && mean(right),
            wins: winRate(scores(base.report), scores(report), { resamples: 1 }).value,
          };
        }),
      };
    }),
  ];
}

/** Bootstrapped over prompts; absent where some image was not measured. */
function measuresOf(images: readonly ImageVerdict[]): Row["measures"] {
  const groups = images.map(({ prompt }) => prompt);
  const all = images.flatMap(({ measures }) => measures ?? []);
  if (all.length < images.length) return undefined;
  const of = (name: keyof ImageMeasures): Estimate =>
    bootstrapMean(
      all.map((measures) => measures[name]),
      { groups },
    );
  return {
    diversity: of("diversity"),
    saturation: of("saturation"),
    contrast: of("contrast"),
    highFrequency: of("highFrequency"),
  };
}

/** A way of SPO compared with Diffusion-DPO, image by image from the same noise, runs of the same seed. */
export function overDpo(findings: Findings, way: string): Estimate {
  const all = ({ runs }: MethodOutcome): ImageVerdict[] => runs.flatMap(({ report }) => report);
  const [dpo, spo] = [all(outcomeOf(findings, "dpo")), all(outcomeOf(findings, way))];
  const scores = (images: readonly ImageVerdict[]): number[] => images.map(({ score }) => score);
  return winRate(scores(dpo), scores(spo), { groups: spo.map(({ prompt }) => prompt) });
}

/** Quality of the base and of all methods at equal cost, at a few places within the range of all. */
export function atEqual(
  findings: Findings,
  spending: Spending,
  places = 4,
): ({ x: number; base: number } & Record<string, number>)[] {
  const curves = Object.keys(findings.methods).map((method): [string, Curve] => [
    method,
    meanCurve(curvesOf(findings, method, { spending, withPreference: true })),
  ]);
  const endOf = (curve: Curve): number => (curve.at(-1) as Curve[number]).x;
  const end = Math.min(...curves.map(([, curve]) => endOf(curve)));
  return Array.from({ length: places }, (_, i) => {
    const x = (end * (i + 1)) / places;
    const at = (curve: Curve): number => qualityAt(curve, Math.min(x, endOf(curve))) as number;
    const qualities = Object.fromEntries(curves.map(([method, curve]) => [method, at(curve)]));
    return { x, base: quality(findings.base.curve), ...qualities };
  });
}
