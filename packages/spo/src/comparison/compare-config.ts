// Settings of the comparison of base, Diffusion-DPO and SPO. No tensor code: help and checks need no engine.

import { modelText, pathText, scorerText, someSettingsOf } from "@spo/records/config";
import { z } from "zod";
import {
  MOST_GUIDANCE,
  MOST_PROCESSES,
  MOST_PROMPTS,
  MOST_SAMPLES,
  MOST_SAMPLING_STEPS,
  MOST_SECONDS,
  MOST_SEED,
} from "../recipes/bounds.js";
import { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { deviceSettings } from "../recipes/training/precision-config.js";

const images = (seeds: number[], perPrompt: number) =>
  z
    .strictObject({
      seeds: z
        .array(z.int().min(0).max(MOST_SEED))
        .min(1)
        .default(seeds)
        .describe("of the noise; the same for all models"),
      perPrompt: z
        .int()
        .positive()
        .max(MOST_SAMPLES)
        .default(perPrompt)
        .describe("images of each prompt and seed"),
    })
    .prefault({});

/** One more way of SPO beside the first. */
const Variant = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]*$/)
    .refine((name) => !["base", "dpo", "spo"].includes(name), { error: "base, dpo and spo are taken" })
    .describe("of its folders and in the report's data: small letters, digits, dashes"),
  title: z.string().min(1).describe("what the report calls it"),
  spm: someSettingsOf(TrainSpmConfig)
    .optional()
    .describe("settings of a preference model of its own, over those in spm; absent: it has SPO's"),
  spo: someSettingsOf(TrainSpoConfig).default({}).describe("settings of train spo, over those in spo"),
  search: z
    .array(someSettingsOf(TrainSpoConfig))
    .min(1)
    .describe("settings to try, over those; as many as of spo"),
});

/** Settings of `spo compare`. */
export const CompareConfig = z
  .strictObject({
    model: modelText().describe("the base: folder in diffusers layout"),
    pairs: z
      .array(pathText())
      .min(1)
      .describe("preference pairs that both methods learn from, SPO by its preference model"),
    prompts: pathText().describe(
      "text file, one prompt a line: SPO draws them, and settings are chosen on them",
    ),
    heldOut: pathText().describe("text file of prompts that take part in nothing but the report"),
    judge: scorerText().describe(
      "judge that reports and must take part in nothing else: folder of a judge of artwork, NAME:PATH of a scorer (pickscore:./PickScore_v1), or a module of your own",
    ),
    validator: scorerText().describe(
      "judge by which settings and checkpoints are chosen, on the training prompts",
    ),
    spm: someSettingsOf(TrainSpmConfig).describe("settings of train spm, init among them"),
    spo: someSettingsOf(TrainSpoConfig)
      .describe("settings of train spo that all its trials share")
      .default({}),
    dpo: someSettingsOf(TrainDpoConfig)
      .describe("settings of train dpo that all its trials share")
      .default({}),
    variants: z
      .array(Variant)
      .default([])
      .describe("more ways of SPO, each compared with the base and with Diffusion-DPO"),
    seconds: z
      .number()
      .positive()
      .max(MOST_SECONDS)
      .describe("of training in each final run; SPO's include those of its preference model"),
    clock: z
      .enum(["wall", "cpu"])
      .default("wall")
      .describe("which seconds: elapsed, or of all threads, where other work disturbs"),
    seeds: z
      .array(z.int().min(0).max(MOST_SEED))
      .min(1)
      .default([0, 1, 2])
      .describe("of the final runs of each method"),
    checkpoints: z
      .int()
      .positive()
      .max(MOST_PROMPTS)
      .default(6)
      .describe("of each final run that are measured, evenly in time"),
    search: z
      .strictObject({
        spo: z.array(someSettingsOf(TrainSpoConfig)).min(1).describe("settings to try, over those in spo"),
        dpo: z
          .array(someSettingsOf(TrainDpoConfig))
          .min(1)
          .describe("settings to try, over those in dpo; as many as of spo"),
        seconds: z
          .number()
          .positive()
          .max(MOST_SECONDS)
          .describe("of training in each run of a trial; the preference model not counted"),
        checkpoints: z
          .int()
          .positive()
          .max(MOST_PROMPTS)
          .default(3)
          .describe("of each run of a trial that are measured"),
        seeds: z
          .array(z.int().min(0).max(MOST_SEED))
          .min(1)
          .default([100])
          .describe(
            "of each trial's runs; the mean of their best checkpoints counts, since one run may be lucky",
          ),
      })
      .refine(({ spo, dpo }) => spo.length === dpo.length, {
        error: "both methods get the same number of trials",
        path: ["dpo"],
      })
      .describe("the same number of trials, of the same time, for each method"),
    sampling: z
      .strictObject({
        steps: z
          .int()
          .positive()
          .max(MOST_SAMPLING_STEPS)
          .default(20)
          .describe("sampling steps of every image that is judged"),
        guidanceScale: z
          .number()
          .min(-MOST_GUIDANCE)
          .max(MOST_GUIDANCE)
          .default(5)
          .describe("classifier-free guidance"),
        eta: z.number().min(0).max(1).default(1).describe("η of DDIM: 0 without noise, 1 as much as DDPM"),
      })
      .prefault({}),
    validation: images([501], 1).describe("images by which the validator chooses"),
    curve: images([1001], 4).describe("images of held-out prompts at each checkpoint"),
    report: images([1001, 1002, 1003], 4).describe(
      "images of held-out prompts of the checkpoint that was chosen",
    ),
    ...deviceSettings,
    jobs: z
      .int()
      .positive()
      .max(MOST_PROCESSES)
      .default(1)
      .describe("processes at a time; alike for all methods"),
    threads: z
      .int()
      .positive()
      .max(MOST_PROCESSES)
      .optional()
      .describe("of each process; absent: as the machine has it"),
  })
  .refine(
    ({ search, variants }) => variants.every((variant) => variant.search.length === search.spo.length),
    {
      error: "every method gets the same number of trials as spo",
      path: ["variants"],
    },
  )
  .refine(({ variants }) => new Set(variants.map(({ name }) => name)).size === variants.length, {
    error: "two variants have one name",
    path: ["variants"],
  });
export type CompareConfig = z.output<typeof CompareConfig>;

/** A method that is compared with the base. */
export interface Method {
  /** Of its folders, and its key in the data. */
  name: string;
  /** What the report calls it. */
  title: string;
  train: "spo" | "dpo";
  /** Settings of its trainings, and those to try over them. */
  settings: Record<string, unknown>;
  search: readonly Record<string, unknown>[];
  /** The preference model that it needs: the folder's name, and settings of train spm. Two methods may share one. */
  preference?: { folder: string; settings: Record<string, unknown> };
}

/** All methods, in the order of the report: Diffusion-DPO, SPO, and the variants of SPO. */
export function methodsOf({ spm, spo, dpo, search, variants }: CompareConfig): Method[] {
  const shared = { folder: "spm", settings: spm };
  return [
    { name: "dpo", title: "Diffusion-DPO", train: "dpo", settings: dpo, search: search.dpo },
    { name: "spo", title: "SPO", train: "spo", settings: spo, search: search.spo, preference: shared },
    ...variants.map(
      (variant): Method => ({
        ...{ name: variant.name, title: variant.title, train: "spo", search: variant.search },
        settings: mergedSettings(spo, variant.spo),
        preference: variant.spm
          ? { folder: `spm-${variant.name}`, settings: mergedSettings(spm, variant.spm) }
          : shared,
      }),
    ),
  ];
}

/** Settings over common ones; those of the optimizer one by one. */
export function mergedSettings(
  common: Record<string, unknown>,
  own: Record<string, unknown>,
): Record<string, unknown> {
  const optimizer = { ...(common.optimizer as object), ...(own.optimizer as object) };
  return { ...common, ...own, ...(Object.keys(optimizer).length > 0 ? { optimizer } : {}) };
}
