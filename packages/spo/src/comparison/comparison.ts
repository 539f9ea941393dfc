// What a comparison found, as its JSON file has it.

import { bootstrapMean, type Estimate, mean, signTest, winRate } from "@spo/records";
import { METHODS, type Method } from "./compare-config.js";
import { type Curve, type Lead, leadOver, qualityAt } from "./curves.js";
import type { ImageVerdict } from "./image-judge.js";
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
  trials: Trial[];
  /** The place of the trial whose settings the final runs have. */
  chosen: number;
  settings: object;
  runs: FinalRun[];
}

export interface Findings {
  base: { validation: number; curve: ImageVerdict[]; report: ImageVerdict[] };
  /** What the preference model's training spent. */
  spm: Spent;
  methods: Record<Method, MethodOutcome>;
  flops: FlopsOfPasses;
}

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
 * Quality of each run over its cost. withPreference: SPO's curves begin at the cost of its preference model; before that, it is as good as
 * the base.
 */
export function curvesOf(
  { base, spm, methods, flops }: Findings,
  method: Method,
  { spending, withPreference }: { spending: Spending; withPreference: boolean },
): Curve[] {
  const before = method === "spo" && withPreference ? spm : nothingSpent();
  const start = quality(base.curve);
  return methods[method].runs.map(({ checkpoints }) => [
    { x: 0, quality: start },
    ...(before === spm ? [{ x: spentOn(spending, spm, flops), quality: start }] : []),
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
  method: Method;
  over: Method;
  /** Of the mean curves; absent when the other is never better than the base. */
  lead?: Lead;
  /** The ratio of each seed's two runs; null when this method is never as good, absent when the other is never better than the base. */
  bySeed: (number | null | undefined)[];
}

export function leads(findings: Findings): LeadFound[] {
  const start = quality(findings.base.curve);
  return SPENDINGS.flatMap((spending) =>
    [true, false].flatMap((withPreference) =>
      METHODS.map((method): LeadFound => {
        const over = method === "spo" ? "dpo" : "spo";
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

/** One model's measures on held-out prompts. */
export interface Row {
  name: "base" | Method;
  score: Estimate;
  onPrompt?: Estimate;
  /** Against the base, image by image from the same noise, all seeds together. */
  wins?: Estimate;
  /** Two-sided p of the sign test against the base, on each image's mean over the seeds; and on each prompt's. */
  signTest?: { images: number; byImage: number; prompts: number; byPrompt: number };
  /** On-prompt share less the base's. */
  onPromptChange?: Estimate;
  /** Of each seed's run. */
  seeds?: { seed: number; score: number; onPrompt?: number; wins: number }[];
}

export function rows({ base, methods }: Findings): Row[] {
  const options = (images: readonly ImageVerdict[]) => ({ groups: images.map(({ prompt }) => prompt) });
  const shares = (images: readonly ImageVerdict[]): number[] | undefined =>
    images.every(({ onPrompt }) => onPrompt !== undefined)
      ? images.map(({ onPrompt }) => Number(onPrompt))
      : undefined;
  const scores = (images: readonly ImageVerdict[]): number[] => images.map(({ score }) => score);
  const row = (name: Row["name"], images: readonly ImageVerdict[]): Row => {
    const right = shares(images);
    return {
      name,
      score: bootstrapMean(scores(images), options(images)),
      onPrompt: right && bootstrapMean(right, options(images)),
    };
  };
  return [
    row("base", base.report),
    ...METHODS.map((method): Row => {
      const { runs } = methods[method];
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
        ...row(method, all),
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

/** SPO compared with Diffusion-DPO, image by image from the same noise, runs of the same seed. */
export function spoOverDpo({ methods }: Findings): Estimate {
  const all = ({ runs }: MethodOutcome): ImageVerdict[] => runs.flatMap(({ report }) => report);
  const [dpo, spo] = [all(methods.dpo), all(methods.spo)];
  const scores = (images: readonly ImageVerdict[]): number[] => images.map(({ score }) => score);
  return winRate(scores(dpo), scores(spo), { groups: spo.map(({ prompt }) => prompt) });
}

/** Quality of both methods at equal cost, at a few places within the range of both. */
export function atEqual(
  findings: Findings,
  spending: Spending,
  places = 4,
): { x: number; base: number; dpo: number; spo: number }[] {
  const curve = (method: Method): Curve =>
    meanCurve(curvesOf(findings, method, { spending, withPreference: true }));
  const [dpo, spo] = [curve("dpo"), curve("spo")];
  const end = Math.min((dpo.at(-1) as Curve[number]).x, (spo.at(-1) as Curve[number]).x);
  return Array.from({ length: places }, (_, i) => {
    const x = (end * (i + 1)) / places;
    const at = (of: Curve): number => qualityAt(of, Math.min(x, (of.at(-1) as Curve[number]).x)) as number;
    return { x, base: quality(findings.base.curve), dpo: at(dpo), spo: at(spo) };
  });
}
