// The whole method on the example: train a preference model, post-train the base with SPO, measure, report.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { readPrompts } from "@spo/data";
import { loadTextToImage } from "@spo/diffusion";
import { type Event, Run, type RunSettings, readRecord, WorkMeter } from "@spo/records";
import { checkConfig } from "@spo/records/config";
import { readStripFile, type StripFile, stripFileName } from "@spo/records/report";
import type { GroupedFeatures } from "@spo/scorers";
import { engineFacts, getThreads, keep, resolveDevice, writeFileAtomic } from "@spo/torch";
import { WORLD_OF_ONE } from "@spo/torch/distributed";
import { readJson } from "@spo/torch/text-files";
import { openPreferenceModel, SpmJudge } from "spo";
import type { RecipeContext } from "spo/recipes";
import { trainSpm, trainSpo } from "spo/recipes";
import { pathsOf, TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import { z } from "zod";
import { readArtwork } from "../data/artwork.js";
import { loadArtworkJudge } from "../judge/artwork-judge.js";
import { type EvaluationTools, evaluateModel, type ImageFigures, realFeatures } from "../judge/evaluate.js";
import { type QuickstartFamily, type QuickstartJudge, quickstartFiles } from "./quickstart-families.js";

/** A settings file of an example folder: of both trainings and of the evaluation, and what `--fast` changes. */
const Settings = z.strictObject({
  /** init: in the folder. */
  spm: z.looseObject({ init: z.string() }),
  spo: z.record(z.string(), z.unknown()),
  evaluation: z
    .strictObject({
      seeds: z.array(z.int().min(0)).min(1),
      perPrompt: z.int().positive(),
      steps: z.int().positive(),
      guidanceScale: z.number(),
      eta: z.number().min(0).max(1),
    })
    .refine(({ seeds, perPrompt }) => seeds.length * perPrompt > 1, {
      message: "has one image a prompt; the distance to real artwork takes two at least",
    }),
  fast: z.strictObject({
    spm: z.record(z.string(), z.unknown()),
    spo: z.record(z.string(), z.unknown()),
    evaluation: z.record(z.string(), z.unknown()),
  }),
});

/** Where the quickstart reads and writes, and how much it does. */
export interface QuickstartOptions {
  /** Folder with model/, latent/, clip/, judge/, data/, prompts/ and quickstart.json. */
  example: string;
  /** Which of its models. Default: the Stable Diffusion. */
  family?: QuickstartFamily;
  /** What the preference model looks at. Default: latents; pixels for the flow model. */
  judge?: QuickstartJudge;
  /** Where the runs and the report go. A second call goes on where the first one stopped. */
  folder: string;
  /** Less training and fewer images: shows that everything works, not what it reaches. */
  fast: boolean;
  /** Where everything is computed. Default: as the example says, the CPU. */
  device?: string;
  /** Replaces settings of the SPO training, for controls and seeds. */
  spo?: Record<string, unknown>;
}

/** How far a stage is. */
export interface Progress {
  stage: string;
  done: number;
  total: number;
  /** Short, for the progress line. */
  detail?: string;
  /** What a training warned of, in place of how far it is. */
  warning?: string;
}

/** What the quickstart measured, with everything that a report needs. */
export interface QuickstartResult {
  options: QuickstartOptions;
  settings: { spm: TrainSpmConfig; spo: TrainSpoConfig; evaluation: z.output<typeof Settings>["evaluation"] };
  base: ImageFigures[];
  spo: ImageFigures[];
  /** The judge's features of real artwork of the held-out prompts. */
  real: GroupedFeatures;
  /** What a run with random labels reached, when the example has it. */
  control?: ControlResult;
  spmEvents: Event[];
  spoEvents: Event[];
  strips: StripFile;
  engine: Record<string, string | number>;
}

/**
 * Runs what is not done yet. Ends with the measurements.
 *
 * Of several processes rank 0 alone writes; the others need the folder that it writes to. Measured images are the same for every number of
 * processes and the same trained models.
 */
export async function* quickstart(
  options: QuickstartOptions,
  { signal, world = WORLD_OF_ONE }: Pick<RecipeContext, "signal"> & Partial<Pick<RecipeContext, "world">>,
): AsyncGenerator<Progress, QuickstartResult> {
  const at = (...path: string[]): string => join(options.example, ...path);
  const files = quickstartFiles(options.family, options.judge);
  const raw = checkConfig(Settings, readJson(at(files.settings)));
  const chosen = options.fast
    ? {
        spm: { ...raw.spm, ...raw.fast.spm },
        spo: { ...raw.spo, ...raw.fast.spo },
        evaluation: { ...raw.evaluation, ...raw.fast.evaluation },
      }
    : raw;
  const evaluation = Settings.shape.evaluation.parse(chosen.evaluation);
  const onDevice = options.device === undefined ? {} : { device: options.device };
  const spmConfig = TrainSpmConfig.parse({
    model: at(files.model),
    pairs: [at("data", "pairs.parquet")],
    output: join(options.folder, "spm", "model"),
    ...chosen.spm,
    init: at(chosen.spm.init),
    ...onDevice,
  });
  const spoConfig = TrainSpoConfig.parse({
    model: at(files.model),
    spm: spmConfig.output,
    prompts: at("prompts", "train.txt"),
    output: join(options.folder, "spo", "model"),
    ...chosen.spo,
    ...options.spo,
    ...onDevice,
  });
  const device = resolveDevice(spoConfig.device); // a missing device is an error before a folder is made

  const writes = world.rank === 0;
  /** A training's run, and whether it has ended before, as all processes see it. */
  const open = async (name: string, settings: RunSettings): Promise<[Run, boolean]> => {
    const folder = join(options.folder, name);
    const run = writes ? Run.open(folder, { ...settings, engine: engineFacts() }) : Run.follow(folder);
    const [hasEnded = false] = await world.gather(writes && run.result() !== undefined);
    return [run, hasEnded];
  };
  const [spm, spmHasEnded] = await open("spm", {
    kind: "train spm",
    config: spmConfig,
    mapPaths: pathsOf(TrainSpmConfig),
  });
  using spmRun = spm;
  if (!spmHasEnded) {
    for await (const event of trainSpm(spmConfig, { run: spmRun, signal, world })) {
      await setImmediate(); // lets signals and timers run
      if (event.type === "warn")
        yield { stage: "preference model", done: 0, total: 1, warning: event.message };
      if (event.type === "phase")
        yield { stage: "preference model: noised pairs", done: event.done, total: event.total };
      if (event.type === "step")
        yield {
          stage: "preference model",
          done: event.step,
          total: event.total,
          detail: `accuracy ${event.metrics.accuracy?.toFixed(2)}`,
        };
    }
  }
  const [spo, spoHasEnded] = await open("spo", {
    kind: "train spo",
    config: spoConfig,
    mapPaths: pathsOf(TrainSpoConfig),
  });
  using spoRun = spo;
  if (!spoHasEnded) {
    for await (const event of trainSpo(spoConfig, { run: spoRun, signal, world })) {
      await setImmediate();
      if (event.type === "warn") yield { stage: "SPO", done: 0, total: 1, warning: event.message };
      if (event.type === "step") {
        const { progress, loss, accuracy } = event.metrics;
        yield {
          stage: "SPO",
          done: (progress ?? 0) * event.total,
          total: event.total,
          detail: `loss ${loss?.toFixed(4)}, win over lose ${accuracy?.toFixed(2)}`,
        };
      }
    }
  }

  const heldOut = readPrompts(at("prompts", "held-out.txt"));
  const judge = loadArtworkJudge(at("judge"), { device });
  const base = loadTextToImage(at(files.model), { device });
  const tools: EvaluationTools = {
    judge,
    spm: new SpmJudge(openPreferenceModel(spmConfig.output, base)),
    choices: readPrompts([at("prompts", "train.txt"), at("prompts", "held-out.txt")]),
  };
  const images: Record<"base" | "spo", ImageFigures[]> = { base: [], spo: [] };
  const total = 2 * heldOut.length * evaluation.perPrompt * evaluation.seeds.length;
  for (const which of ["base", "spo"] as const) {
    const kept = join(options.folder, `evaluation-${which}.json`);
    const key = JSON.stringify({ evaluation, spm: spmConfig, model: which === "base" ? null : spoConfig });
    const [before] = await world.gather(writes ? readImages(kept, key) : undefined);
    if (before) {
      images[which] = before;
      continue;
    }
    const pipe = which === "base" ? base : loadTextToImage(spoConfig.output, { device });
    const meter = new WorkMeter();
    const mine = evaluation.seeds.filter((_, i) => i % world.size === world.rank);
    const found: ImageFigures[] = [];
    for (const measured of evaluateModel(pipe, heldOut, mine, evaluation, tools, meter)) {
      found.push(...measured);
      yield {
        stage: `images of ${which === "base" ? "the base" : "SPO"}`,
        done: images.base.length + found.length * world.size,
        total,
      };
      await setImmediate();
      signal.throwIfAborted();
    }
    const all = (await world.gather(found)).flat();
    images[which] = evaluation.seeds.flatMap((seed) => all.filter((image) => image.seed === seed));
    if (writes) writeImages(kept, key, images[which]);
  }
  const artwork = await readArtwork(at("data", "artwork.parquet"));
  keep(artwork.pixels);
  return {
    options,
    settings: { spm: spmConfig, spo: spoConfig, evaluation },
    ...images,
    real: realFeatures(base, judge, artwork, heldOut),
    spmEvents: spmRun.events(),
    spoEvents: spoRun.events(),
    control: options.fast ? undefined : readControl(at("results", files.control)),
    strips: readStrips(join(options.folder, "spo", "strips")),
    engine: { ...engineFacts(), threads: getThreads(), node: process.version },
  };
}

const SavedImages = z.object({
  key: z.string(),
  images: z.array(
    z.object({
      prompt: z.string(),
      seed: z.int(),
      rgb: z.base64(),
      side: z.int().positive(),
      spm: z.number(),
      logProb: z.number(),
      realism: z.number(),
      onPrompt: z.boolean(),
      features: z.array(z.number()),
    } satisfies Record<keyof ImageFigures, z.ZodType>),
  ),
});

function readImages(path: string, key: string): ImageFigures[] | undefined {
  if (!existsSync(path)) return undefined;
  const saved = readRecord(path, SavedImages);
  if (saved.key !== key) return undefined;
  return saved.images.map((image) => ({ ...image, rgb: new Uint8Array(Buffer.from(image.rgb, "base64")) }));
}

function writeImages(path: string, key: string, images: readonly ImageFigures[]): void {
  writeFileAtomic(
    path,
    JSON.stringify({
      key,
      images: images.map((image) => ({ ...image, rgb: Buffer.from(image.rgb).toString("base64") })),
    }),
  );
}

/** Measures of a report that was made with random labels and everything else equal. */
const ControlResult = z.object({
  title: z.string(),
  measures: z.array(
    z.object({
      name: z.string(),
      spo: z.object({ value: z.number(), low: z.number(), high: z.number() }),
      wins: z.object({ value: z.number(), low: z.number(), high: z.number() }).optional(),
    }),
  ),
});
/** What a control run, all else equal, came to: the file that a report sets beside its own figures. */
export type ControlResult = z.output<typeof ControlResult>;

function readControl(path: string): ControlResult | undefined {
  return existsSync(path) ? readRecord(path, ControlResult) : undefined;
}

/** The strip of the first round: there the policy still is the base. */
function readStrips(folder: string): StripFile {
  const path = join(folder, stripFileName(0));
  return existsSync(path) ? readStripFile(path) : [];
}
