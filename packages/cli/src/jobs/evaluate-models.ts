// Models and sets of images side by side: the same prompts and noise, scored by each metric, with intervals, in files, a table and a page.
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { dataFacts, fingerprintOfPrompts, type ImageOfSet, readImageSet, readPrompts } from "@spo/data";
import {
  type ClipTokenizer,
  requireSchedule,
  type SamplerChoice,
  type SamplerName,
  type TextToImage,
} from "@spo/diffusion";
import { type EvaluationData, evaluationEssence, warningsOf } from "@spo/records/report";
import {
  checkImagesDecode,
  drawSet,
  type Reward,
  type ScoredImage,
  scoreSet,
  setFigures,
} from "@spo/scorers";
import { mapSpecPaths, type RewardSpec, splitRewardSpecs } from "@spo/scorers/reward-spec";
import { answerSignals, type Device, resolveDevice, setThreads } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import { UserError } from "@spo/torch/files";
import { loadReward } from "spo";
import { ownDevice, requireSameModels, requireSameWork } from "spo/recipes";
import { type BatchOptions, imagesAtOnce } from "../options/batch-invariant.js";
import type { CommonOptions } from "../options/common-options.js";
import { resolveReward } from "../options/resolve-reward.js";
import { chosenSampler, type SamplerOptions } from "../options/sampler-options.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { painter, put, putJson, putPath, say } from "../terminal/terminal.js";
import { version } from "../terminal/version.js";
import { type EvaluationSource, fingerprint, loadSource, resolveSources } from "./evaluation-source.js";
import { openWorld } from "./open-world.js";
import { imageLines, picturesOf, writeEvaluation } from "./write-evaluation.js";

/** Of `spo eval`. */
export interface EvalCommandOptions extends CommonOptions, BatchOptions, SamplerOptions {
  metrics: string[];
  prompts?: string;
  features?: string;
  allowOutside?: boolean;
  output: string;
  seeds: number[];
  perPrompt: number;
  steps: number;
  guidanceScale?: number;
  negative: string;
  eta: number;
  width?: number;
  height?: number;
  dtype: "float32" | "bfloat16" | "float16";
  device: string;
  scoreBatch: number;
  threads?: number;
}

interface Metric {
  name: string;
  spec: string;
  parsed: RewardSpec;
  hasFeatures: boolean;
}

/**
 * Draws images, scores them by one metric after the other, and writes all results. Everything that can be wrong is checked before the
 * first image is drawn; called again with the same --output, it goes on with the images that are there. Of several processes that a
 * launcher started, each draws and scores its share, and rank 0 writes.
 */
export async function evaluateModels(models: readonly string[], given: EvalCommandOptions): Promise<void> {
  const world = await openWorld("eval");
  const speaks = world.rank === 0;
  const device = resolveDevice(ownDevice(given.device, world, process.env));
  const options = { ...given, device, quiet: given.quiet || !speaks };
  const { quiet, output } = options;
  if (options.threads !== undefined) setThreads(options.threads);
  const sources = await resolveSources(models, { quiet });
  const specs = options.metrics.flatMap(splitRewardSpecs);
  if (specs.length === 0) {
    throw new UserError("--metrics is missing: what the images are scored by.", {
      code: "USAGE",
      hint: "NAME:PATH with commas between, as clip:openai/clip-vit-large-patch14; --help lists the names.",
    });
  }
  const drawn = sources.filter((source) => source.kind === "model");
  if (drawn.length > 0 && options.prompts === undefined) {
    throw new UserError("--prompts is missing: a file with one prompt a line.", {
      code: "USAGE",
      hint: "Only images that are there (images:PATH) have prompts of their own.",
    });
  }
  const onWarning = (text: string): void => {
    if (speaks) say(painter(process.stderr)("yellow", text));
  };
  const prompts =
    options.prompts === undefined ? [] : [...new Set(readPrompts(options.prompts, { onWarning }))];
  const named = {
    models: sources.map(({ name }) => name).join(", "),
    metrics: specs.map((spec) => mapSpecPaths(spec, (path) => basename(path))).join(", "),
  };
  await requireSameWork(
    world,
    { ...named, ...workOf(options) },
    dataFacts({ prompts: fingerprintOfPrompts(prompts) }),
  );
  const bar = new ProgressBar({ quiet });
  const sets = new Map<string, ImageOfSet[]>();
  for (const source of sources) {
    if (source.kind !== "images") continue;
    const images = readImageSet(source.path, { allowOutside: options.allowOutside });
    await checkImagesDecode(images, source.path);
    sets.set(source.name, images);
  }
  const { tokenizer, drawings } = checkModels(drawn, options);
  for (const warning of unlike(drawings)) onWarning(warning);
  const metrics = await checkMetrics(specs, { tokenizer, device, quiet });
  const features =
    options.features === undefined
      ? undefined
      : await checkFeatures(options.features, { tokenizer, device, quiet });

  const signal = interruptible((text) => bar.say(text), answerSignals);
  signal.addEventListener("abort", () => {
    if (drawn.length > 0 && speaks)
      bar.say(`What is drawn is kept in ${output}: the same command goes on from there.`);
  });
  for (const source of drawn)
    sets.set(source.name, await draw(source, prompts, options, { bar, signal, world }));
  const featuresOf = features ?? metrics.find(({ hasFeatures }) => hasFeatures);
  const scored = await scoreSets(sources, sets, options, {
    ...{ metrics, features, featuresOf, tokenizer, bar, signal, world },
  });
  bar.end();
  await world.close();
  if (!speaks) return;
  const data: EvaluationData = {
    metrics: metrics.map(({ name, spec }) => ({ name, spec })),
    featuresOf: featuresOf?.name,
    sets: sources.map(({ name, text }, i) => ({
      name,
      source: text,
      ...setFigures(
        scored.get(name) as ScoredImage[],
        metrics.map((metric) => metric.name),
        i > 0 ? scored.get((sources[0] as EvaluationSource).name) : undefined,
      ),
    })),
    pictures: await picturesOf(sources, scored),
    settings: settingsOf(options, drawings),
  };
  const files = writeEvaluation(output, data, scored);
  if (options.json) {
    const { pictures: _, ...figures } = data;
    putJson({ schema: "spo.eval/2", ...figures, files, images: imageLines(scored) });
    return;
  }
  for (const line of evaluationEssence(data)) put(line);
  for (const warning of warningsOf(data.sets)) say(painter(process.stderr)("yellow", warning));
  for (const { name, pairs } of data.sets)
    if (pairs === 0)
      say(`${name} has no image with a prompt of ${data.sets[0]?.name}'s: there are no pairs.`);
  putPath(files.report);
}

/** What the images and scores depend on, but for files. */
function workOf(options: EvalCommandOptions & { device: Device }): object {
  const { seeds, perPrompt, steps, guidanceScale, negative, eta, sampler, schedule, width, height } = options;
  const { dtype, scoreBatch, device } = options;
  return {
    ...{ seeds, perPrompt, steps, guidanceScale, negative, eta, sampler, schedule, width, height, dtype },
    ...{ batch: imagesAtOnce(options, device), scoreBatch },
  };
}

/** How one model draws: as it was asked, and where nothing was said as the model usually does. */
interface Drawing extends SamplerChoice {
  sampler: SamplerName;
  guidanceScale: number;
}

/**
 * Loads every model once, so that errors are not found hours later → the first model's tokenizer, for CLIP, and how each draws, by the
 * sources' names.
 */
function checkModels(
  sources: readonly Extract<EvaluationSource, { kind: "model" }>[],
  options: EvalCommandOptions & { device: Device },
): { tokenizer: ClipTokenizer | undefined; drawings: Map<string, Drawing> } {
  let tokenizer: ClipTokenizer | undefined;
  const drawings = new Map<string, Drawing>();
  for (const source of sources) {
    const pipe = loadSource(source, options);
    const drawing = drawingOf(pipe, options);
    drawings.set(source.name, drawing);
    const most = pipe.process.trainTimesteps;
    if (options.steps > most)
      throw new UserError(`--steps is from 1 to ${most}, not ${options.steps}.`, { code: "USAGE" });
    // Also for what the model's process and the sampler do not do together.
    pipe.schedule.sampler(drawing.sampler, {
      ...{ steps: options.steps, eta: options.eta, spacing: drawing.schedule },
      latentSize: latentSizeOf(pipe, options),
    });
    tokenizer ??= pipe.tokenizer;
    for (const model of Object.values(pipe.models)) model.dispose();
  }
  return { tokenizer, drawings };
}

interface Loading {
  tokenizer: ClipTokenizer | undefined;
  device: Device;
  quiet?: boolean;
}

async function checkMetrics(specs: readonly string[], loading: Loading): Promise<Metric[]> {
  const metrics: Metric[] = [];
  for (const spec of specs) metrics.push(await checkMetric(spec, loading));
  for (const [i, { name, spec }] of metrics.entries()) {
    if (metrics.findIndex((other) => other.name === name) < i)
      throw new UserError(`There are two metrics called ${name}, the second from ${spec}.`, {
        code: "USAGE",
        hint: "Evaluate twice: the images are kept, so that it costs the scoring alone.",
      });
  }
  return metrics;
}

async function checkMetric(spec: string, { tokenizer, device, quiet }: Loading): Promise<Metric> {
  const here = await resolveReward(spec, { quiet });
  const reward: Reward = await loadReward(here, { tokenizer, device });
  const metric = { name: reward.name, spec, parsed: here, hasFeatures: reward.features !== undefined };
  reward.dispose?.();
  return metric;
}

async function checkFeatures(spec: string, loading: Loading): Promise<Metric> {
  const metric = await checkMetric(spec, loading);
  if (metric.hasFeatures) return metric;
  throw new UserError(`--features ${spec} has no image features.`, {
    code: "USAGE",
    hint: "All that are built in have some; a module of your own gives them by features(images).",
  });
}

async function draw(
  source: Extract<EvaluationSource, { kind: "model" }>,
  prompts: readonly string[],
  options: EvalCommandOptions,
  { bar, signal, world }: { bar: ProgressBar; signal: AbortSignal; world: World },
): Promise<ImageOfSet[]> {
  const { seeds, perPrompt, steps, eta, negative, dtype, device } = options;
  const pipe = loadSource(source, options);
  await requireSameModels(world, pipe.models);
  const folder = join(options.output, "images", source.name.replace(/[^\w.+-]+/g, "-"));
  const settings = {
    ...{ seeds, perPrompt, steps, eta, ...drawingOf(pipe, options) },
    batch: imagesAtOnce(options, device),
    latentSize: latentSizeOf(pipe, options),
    negativePrompt: negative === "" ? undefined : negative,
  };
  const files = [source.path, ...source.loras.map(({ file }) => file)];
  const about = {
    model: source.path,
    loras: source.loras,
    dtype,
    // Another device rounds differently. The CPU is left out, as in folders from before there was a choice.
    device: device === "cpu" ? undefined : device,
    weights: fingerprint(files.filter((file) => existsSync(file))),
  };
  const drawing = drawSet(pipe, prompts, settings, folder, { about, world });
  const total = prompts.length * seeds.length * perPrompt;
  for (;;) {
    const { value, done } = await drawing.next();
    if (done) {
      for (const model of Object.values(pipe.models)) model.dispose();
      return value;
    }
    bar.advance({ stage: `drawing: ${source.name}`, done: value, total });
    await setImmediate(); // lets signals arrive
    signal.throwIfAborted();
  }
}

function latentSizeOf(pipe: TextToImage, { width, height }: EvalCommandOptions): [number, number] {
  const { factor } = pipe.vae;
  const [ownHeight, ownWidth] = pipe.denoiser.sampleSize;
  for (const size of [width, height]) {
    if (size !== undefined && size % factor !== 0)
      throw new UserError(
        `--width and --height must be multiples of ${factor} for this model, not ${size}.`,
        {
          code: "USAGE",
        },
      );
  }
  return [height ? height / factor : ownHeight, width ? width / factor : ownWidth];
}

function drawingOf(pipe: TextToImage, options: EvalCommandOptions): Drawing {
  const { sampler = pipe.schedule.ownSampler(), schedule } = chosenSampler(options);
  if (schedule !== undefined) requireSchedule(sampler, schedule);
  return { guidanceScale: options.guidanceScale ?? pipe.guidanceScale, sampler, schedule };
}

/** What the models do not draw alike, as lines: it may be what their figures differ by. */
function unlike(drawings: ReadonlyMap<string, Drawing>): string[] {
  const option = { guidanceScale: "--guidance-scale", sampler: "--sampler" };
  return (["guidanceScale", "sampler"] as const).flatMap((key) => {
    const value = together(drawings, key);
    return typeof value === "object"
      ? [`the models draw with ${shown(value)}, each as it usually does; ${option[key]} sets one for all`]
      : [];
  });
}

const shown = (values: Readonly<Record<string, unknown>>): string =>
  Object.entries(values)
    .map(([name, value]) => `${value} (${name})`)
    .join(", ");

/** The value that all models have, or else that of each, by name. */
function together<K extends keyof Drawing>(
  drawings: ReadonlyMap<string, Drawing>,
  key: K,
): Drawing[K] | Record<string, Drawing[K]> {
  const values = [...drawings].map(([name, drawing]) => [name, drawing[key]] as const);
  const first = values[0]?.[1] as Drawing[K];
  return values.every(([, value]) => value === first) ? first : Object.fromEntries(values);
}

function settingsOf(
  options: EvalCommandOptions,
  drawings: ReadonlyMap<string, Drawing>,
): EvaluationData["settings"] {
  const { prompts, seeds, perPrompt, steps, negative, eta, dtype, device, width, height } = options;
  return drawings.size > 0
    ? {
        prompts,
        seeds,
        perPrompt,
        steps,
        guidance: together(drawings, "guidanceScale"),
        negative,
        eta,
        sampler: together(drawings, "sampler"),
        schedule: options.schedule,
        dtype,
        device,
        width,
        height,
        spo: version,
      }
    : { spo: version };
}

interface Scoring {
  metrics: readonly Metric[];
  /** A metric for its features alone. */
  features?: Metric;
  /** The metric whose features are kept. */
  featuresOf?: Metric;
  tokenizer: ClipTokenizer | undefined;
  bar: ProgressBar;
  signal: AbortSignal;
  world: World;
}

/** One metric after the other, so that only one scorer is in memory. → by the sources' names, in their order. */
async function scoreSets(
  sources: readonly EvaluationSource[],
  sets: ReadonlyMap<string, readonly ImageOfSet[]>,
  { device, scoreBatch: batch }: EvalCommandOptions & { device: Device },
  { metrics, features, featuresOf, tokenizer, bar, signal, world }: Scoring,
): Promise<Map<string, ScoredImage[]>> {
  const scored = new Map<string, ScoredImage[]>(
    sources.map(({ name }) => [
      name,
      (sets.get(name) as ImageOfSet[]).map((image) => ({ ...image, scores: {} })),
    ]),
  );
  for (const metric of [...metrics, ...(features ? [features] : [])]) {
    const reward = await loadReward(metric.parsed, { tokenizer, device });
    for (const [name, images] of scored) {
      const { scores, features: seen } = await scoreSet(images, reward, {
        batch,
        features: metric === featuresOf,
        signal,
        world,
        onProgress: (done) => bar.advance({ stage: `${metric.name}: ${name}`, done, total: images.length }),
      });
      scored.set(
        name,
        images.map((image, i) => ({
          ...image,
          // Features may come from a metric that was not asked for scores.
          scores:
            metric === features ? image.scores : { ...image.scores, [metric.name]: scores[i] as number },
          features: seen?.[i] ?? image.features,
        })),
      );
    }
    reward.dispose?.();
  }
  return scored;
}
