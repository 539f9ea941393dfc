// The jobs of a comparison, which run in processes of their own. Each job writes its result to files, and is not repeated when they exist.
import { existsSync } from "node:fs";
import { readRecord } from "@spo/records";
import { z } from "zod";
import type { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import type { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import type { TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import type { ImageVerdict } from "./image-judge.js";
import type { ImageMeasures } from "./image-measures.js";
import type { PolicyShape } from "./snapshot.js";

/** Trains the preference model to its end. */
export interface SpmTraining {
  kind: "spm";
  folder: string;
  config: TrainSpmConfig;
}

/** Continues a training until it has spent a number of seconds, and takes a snapshot of its policy. */
export type PolicyTraining = {
  kind: "policy";
  folder: string;
  snapshot: string;
  seconds: number;
  clock: "wall" | "cpu";
} & ({ train: "dpo"; config: TrainDpoConfig } | { train: "spo"; config: TrainSpoConfig });

export interface SampledPrompts {
  prompts: string[];
  seeds: number[];
  perPrompt: number;
}

/** Draws images and has them judged. */
export interface Evaluation {
  kind: "evaluation";
  /** Where the verdicts go. */
  file: string;
  policy: PolicyShape;
  /** Where it is computed; absent: on the CPU. */
  device?: string;
  /** Folder of the policy's weights; absent: the base itself. */
  snapshot?: string;
  judge: string;
  /** The prompts among which a judge that can tell has to find the right one. */
  choices: string[];
  sampled: SampledPrompts;
  sampling: { steps: number; guidanceScale: number; eta: number };
  /** Images of each prompt that are kept. */
  shown: number;
  /** Whether the images themselves are measured too. */
  measured?: true;
}

export type Job = SpmTraining | PolicyTraining | Evaluation;

const Evaluated = z.object({
  /** The job that it answers; another one is done again. */
  key: z.string(),
  judge: z.string(),
  images: z.array(
    z.object({
      prompt: z.string(),
      seed: z.int(),
      score: z.number(),
      onPrompt: z.boolean().optional(),
      measures: z
        .object({
          diversity: z.number(),
          saturation: z.number(),
          contrast: z.number(),
          highFrequency: z.number(),
        } satisfies Record<keyof ImageMeasures, z.ZodType>)
        .optional(),
    } satisfies Record<keyof ImageVerdict, z.ZodType>),
  ),
  /** Encoded, by prompt and place: the first ones of each prompt. */
  pictures: z.array(z.object({ prompt: z.string(), seed: z.int(), png: z.string() })),
});
/** The result of an evaluation. */
export type Evaluated = z.output<typeof Evaluated>;

export const keyOf = ({ file: _, ...job }: Evaluation): string => JSON.stringify(job);

/** What an evaluation found, when it has been done with these settings. Throws a UserError (`DATA`) for a damaged file. */
export function readEvaluated(job: Evaluation): Evaluated | undefined {
  if (!existsSync(job.file)) return undefined;
  const found = readRecord(job.file, Evaluated);
  return found.key === keyOf(job) ? found : undefined;
}

/** How far a job is. */
export interface JobProgress {
  done: number;
  total: number;
  detail?: string;
  /** What a training warned of. */
  warning?: string;
}
