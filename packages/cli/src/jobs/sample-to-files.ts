// From prompts to PNG files, batch by batch.
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setImmediate } from "node:timers/promises";
import { contactSheet, type PromptLine, parsePromptFile, parsePromptLine, withPngText } from "@spo/data";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import {
  guidedDenoiser,
  isGuided,
  LoraStack,
  loadTextToImage,
  type PromptSyntax,
  requireFinite,
  requireSchedule,
  type SampleOptions,
  sampleLatents,
  type TextToImage,
  takeLoraTags,
} from "@spo/diffusion";
import { type Pass, WorkMeter } from "@spo/records";
import { answerSignals, Generator, noGrad, resolveDevice, scope, setThreads, type Tensor } from "@spo/torch";
import { requireShared } from "@spo/torch/distributed";
import { isFolder, makeFolderToFill, UserError, writeFileAtomic } from "@spo/torch/files";
import { decodeText, readText } from "@spo/torch/text-files";
import { type JudgedSteps, openJudge, type StepAwareJudge, sampleByJudge } from "spo";
import { ownDevice, requireSameModels, requireSameWork, spentTogether } from "spo/recipes";
import { type BatchOptions, imagesAtOnce } from "../options/batch-invariant.js";
import type { CommonOptions } from "../options/common-options.js";
import { type GridCell, type GridOptions, gridAxes, gridCells } from "../options/grid-axes.js";
import { type Checkpoint, resolveCheckpoint } from "../options/grid-checkpoint.js";
import { checkJudgeOptions, type JudgeOptions } from "../options/judge-options.js";
import { resolveLoras } from "../options/lora-option.js";
import { resolveParts } from "../options/part-option.js";
import { resolveModel } from "../options/resolve-model.js";
import { resolveRewardWords } from "../options/resolve-reward.js";
import { chosenSampler, type SamplerOptions } from "../options/sampler-options.js";
import { decodeOptions, type VaeOptions } from "../options/vae-options.js";
import { interruptible } from "../terminal/interruption.js";
import { ProgressBar } from "../terminal/progress-bar.js";
import { putJson, putPath } from "../terminal/terminal.js";
import { version } from "../terminal/version.js";
import { encodeBatches, requireEncodable } from "./encoded-prompts.js";
import { type ImageParameters, webuiParameters } from "./image-parameters.js";
import { ModelsInTurn } from "./models-in-turn.js";
import { openWorld } from "./open-world.js";
import { isCut, negativeWords, type PromptWords, promptWarnings, promptWords } from "./prompt-words.js";
import { requireNoGrid, writeGrid } from "./write-grid.js";

/** Of `spo sample`. */
export interface SampleCommandOptions
  extends CommonOptions,
    BatchOptions,
    VaeOptions,
    SamplerOptions,
    JudgeOptions,
    GridOptions {
  model: string;
  configs?: string;
  prompts?: string;
  output: string;
  seed: number;
  count: number;
  grid?: boolean;
  negative: string;
  width?: number;
  height?: number;
  steps: number;
  /** Default: the model's. */
  guidanceScale?: number;
  part: string[];
  eta: number;
  lora: string[];
  loraDir?: string;
  promptCache?: string;
  promptSyntax: PromptSyntax;
  dtype: "float32" | "bfloat16" | "float16";
  device: string;
  threads?: number;
}

/**
 * Writes every image as soon as its batch is done; on Ctrl-C those of the batch at work, and no more. Of several processes that a launcher
 * started, each draws every so-manieth batch; the images are the same for every number of them.
 */
export async function sampleToFiles(
  prompts: readonly string[],
  options: SampleCommandOptions,
): Promise<void> {
  const world = await openWorld("sample");
  const speaks = world.rank === 0;
  const device = resolveDevice(ownDevice(options.device, world, process.env));
  const lines = readLines(prompts, options.prompts);
  const quiet = options.quiet || !speaks;
  const axes = gridAxes(
    options,
    lines.map(({ prompt }) => prompt),
  );
  if (axes.length > 0) requireNoGrid(options.output);
  const model = await resolveModel(options.model, { quiet });
  const loras = await resolveLoras(options.lora, { quiet });
  const checkpoints = new Map<string, Checkpoint>();
  for (const name of axes.find((axis) => axis.name === "checkpoint")?.values ?? [])
    checkpoints.set(name, await resolveCheckpoint(name, { quiet }));
  const folders = options.loraDir === undefined ? loras.map(({ file }) => dirname(file)) : [options.loraDir];
  const parted = lines.map(({ prompt }) => promptWords(prompt, options.promptSyntax, [...new Set(folders)]));
  const syntax = options.promptSyntax;
  if (options.promptCache !== undefined)
    requireEncodable(parted, { axes, syntax, hasLoras: loras.length > 0 });
  if (options.threads !== undefined) setThreads(options.threads);
  const bar = new ProgressBar({ quiet });
  const configs = options.configs && (await resolveModel(options.configs, { quiet, configsOnly: true }));
  const parts = await resolveParts(options.part, { quiet });
  const load = (path: string, on = device): TextToImage =>
    loadTextToImage(path, {
      ...{ configs, dtype: options.dtype, device: on },
      ...((path === model || !isFolder(path)) && { parts }),
    });
  // Text encoders that are freed come onto the device before the rest.
  const models = new ModelsInTurn((path) => load(path, options.promptCache === undefined ? device : "cpu"));
  const isSeveral = [...checkpoints.values()].some((each) => each.model !== undefined);
  // Of several models all are looked at before hours are spent, without their values.
  const looked = isSeveral ? new ModelsInTurn((path) => load(path, "meta")) : models;
  // Adapters that stay are fused into the weights, where they cost nothing. In a grid none is sure to stay.
  const isGrid = axes.length > 0;
  if (!isGrid)
    new LoraStack(
      models.at(model).pipe.models,
      loras.map(({ file, weight }) => ({ path: file, weight })),
    ).fuse();
  const cells = isGrid ? gridCells(axes) : [];
  /** Of images that another model than --model draws: its path. */
  const sources = new Map<ImageParameters, string>();
  const images = isGrid
    ? cells.flatMap((cell) => {
        const line = withoutChanged(lines[cell.prompt] as PromptLine, cell);
        const checkpoint = checkpoints.get(cell.checkpoint ?? "");
        const laid = [...loras, ...(checkpoint?.loras ?? [])].map(({ file, weight }) => ({
          ...{ file, weight: weight * cell.strength },
        }));
        const all = [...laid, ...(parted[cell.prompt] as PromptWords).loras];
        const { pipe, loras: laying } = looked.at(checkpoint?.model ?? model);
        laying.merged(all, () => {}); // a LoRA that does not fit is an error before hours are spent
        const drawn = imagesOf(line, pipe, { ...options, ...cell.options, count: 1 }, all);
        if (checkpoint?.model === undefined) return drawn;
        // Named as it was given: two may be folders of one name.
        const named = drawn.map((image) => ({ ...image, model: cell.checkpoint ?? "" }));
        for (const image of named) sources.set(image, checkpoint.model);
        return named;
      })
    : lines.flatMap((line, i) => {
        const { pipe, loras: laying } = models.at(model);
        const called = (parted[i] as PromptWords).loras;
        laying.merged(called, () => {});
        return imagesOf(line, pipe, options, [...loras, ...called]);
      });
  const sourceOf = (image?: ImageParameters): string => (image && sources.get(image)) ?? model;
  for (const { words } of speaks ? parted : [])
    if (isCut(words, options.promptSyntax))
      warnOfCutWords(bar, looked.at(sourceOf(images[0])).pipe, words, options.promptSyntax);
  for (const warning of speaks ? promptWarnings(images, options.promptSyntax) : [])
    bar.say(`warning: ${warning}`);
  const meter = options.judge === undefined ? undefined : new WorkMeter();
  let judges: (Judges & { source: string }) | undefined;
  const judgesOf = async (source: string): Promise<Judges | undefined> => {
    if (!meter || judges?.source === source) return judges;
    judges = { source, ...(await openJudges(models.at(source).pipe, images, options, meter)) };
    return judges;
  };
  if (!isSeveral) await judgesOf(model);

  using _ = makeFolderToFill(options.output); // an unusable folder is an error before hours are spent
  await requireSameWork(world, workOf(images), {});
  if (!isSeveral) await requireSameModels(world, models.at(model).pipe.models);
  await requireShared(world, options.output);
  const signal = interruptible((text) => bar.say(text), answerSignals);
  const stepsInAll = images.reduce((sum, { steps }) => sum + steps, 0);
  const mine: (ImageParameters & { file: string })[] = [];
  const began = performance.now();
  // Before any process has written.
  const [firstNumber = 0] = await world.gather(nextNumber(options.output));
  let done = 0;
  const rate = (): number => (1000 * done) / (performance.now() - began);
  const batches = batchesOf(images, imagesAtOnce(options, device), syntax, sourceOf);
  const encoded =
    options.promptCache === undefined
      ? undefined
      : encodeBatches(
          models.at(model).pipe,
          batches.filter((_, b) => b % world.size === world.rank),
          {
            ...{ folder: options.promptCache, model, configs, syntax },
            files: [
              ...Object.values(parts).map((path) => [path, 1] as const),
              ...loras.map(({ file, weight }) => [file, weight] as const),
            ],
          },
          device,
        );
  let number = firstNumber;
  for (const [b, batch] of batches.entries()) {
    const start = number;
    number += batch.length;
    if (b % world.size !== world.rank) continue;
    const [first] = batch as [ImageParameters];
    const called = first.loras.filter(({ inPrompt }) => isGrid || inPrompt);
    const source = sourceOf(first);
    const { pipe, loras: laying } = models.at(source);
    const judges = await judgesOf(source);
    const pictures = laying.merged(called, () =>
      sampleBatch(pipe, batch, { ...options, judges, encoded }, () => {
        done += batch.length;
        bar.advance({ stage: "sampling", done, total: stepsInAll, detail: `${rate().toFixed(2)} steps/s` });
      }),
    );
    for (const [i, image] of batch.entries()) {
      const { data, width, height } = pictures[i] as Rgb;
      const png = await encodePng(data, width, height);
      const file = join(options.output, `${String(start + i).padStart(5, "0")}-${image.seed}.png`);
      const text = {
        parameters: webuiParameters(image, version),
        spo: JSON.stringify({ version, ...image }),
      };
      writeFileAtomic(file, withPngText(png, text));
      mine.push({ file, ...image });
      bar.clear();
      if (!options.json && speaks) putPath(file);
    }
    await setImmediate(); // lets signals arrive
    if (signal.aborted) {
      bar.end();
      if (speaks) bar.say(`${mine.length} of ${images.length} images are in ${options.output}`);
      signal.throwIfAborted();
    }
  }
  bar.end();
  const byRank = await world.gather(mine);
  const passes = meter && (await spentTogether(world, meter)).passes;
  await world.close();
  if (!speaks) return;
  if (!options.json) for (const { file } of byRank.slice(1).flat()) putPath(file);
  const numberOf = ({ file }: { file: string }): number => Number.parseInt(basename(file), 10);
  const written = byRank.flat().sort((a, b) => numberOf(a) - numberOf(b));
  const grid = options.grid ? await writeSheet(written, options) : undefined;
  if (grid && !options.json) putPath(grid);
  if (isGrid) {
    const placed = written.map((image, i) => ({ image, cell: cells[i] as GridCell }));
    for (const path of await writeGrid(options.output, axes, placed)) if (!options.json) putPath(path);
  }
  const seconds = (performance.now() - began) / 1000;
  if (passes) {
    const { pipe } = models.at(sourceOf(images.at(-1)));
    const guidance = options.guidanceScale ?? pipe.guidanceScale;
    bar.say(costWords(passes, images, isGuided(pipe.denoiser, guidance) ? 2 : 1));
  }
  if (options.json)
    putJson({ schema: "spo.sample/1", images: written, grid, seconds, stepsPerSecond: rate(), passes });
}

/** What images depend on, by name; models and LoRAs by theirs, as each process may have them elsewhere. */
function workOf(images: readonly ImageParameters[]): object {
  const all = images.map(({ model, loras, ...image }) => ({
    ...image,
    ...{
      model: basename(model),
      loras: loras.map(({ file, ...lora }) => ({ ...lora, file: basename(file) })),
    },
  }));
  const names = [...new Set(all.flatMap((image) => Object.keys(image)))] as (keyof ImageParameters)[];
  const shown = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  const values = names.map((name) => [name, new Set(all.map((image) => shown(image[name])))] as const);
  return {
    images: images.length,
    ...Object.fromEntries(values.map(([name, of]) => [name, [...of].join(", ")])),
  };
}

function readLines(prompts: readonly string[], from: string | undefined): PromptLine[] {
  const lines = prompts.map((prompt) => parsePromptLine(prompt, `"${prompt}"`));
  if (from !== undefined) {
    for (const line of parsePromptFile(readPrompts(from), from === "-" ? "stdin" : from)) lines.push(line);
  }
  if (lines.length === 0) {
    throw new UserError(
      from === undefined ? "There is no prompt." : `${from === "-" ? "stdin" : from}: there is no prompt.`,
      {
        code: "DATA",
        hint: "Give a text, or a file with one prompt a line by --prompts.",
      },
    );
  }
  return lines;
}

const readPrompts = (from: string): string =>
  from === "-" ? decodeText(readFileSync(0), "stdin") : readText(from, "prompt file");

function imagesOf(
  line: PromptLine,
  pipe: TextToImage,
  options: SampleCommandOptions,
  loras: ImageParameters["loras"],
): ImageParameters[] {
  const [ownHeight, ownWidth] = pipe.denoiser.sampleSize;
  const factor = pipe.vae.factor * pipe.denoiser.latentMultiple;
  const width = line.width ?? options.width ?? ownWidth * pipe.vae.factor;
  const height = line.height ?? options.height ?? ownHeight * pipe.vae.factor;
  for (const size of [width, height]) {
    if (size % factor !== 0 || size === 0) {
      throw new UserError(
        `${width}×${height}: width and height must be multiples of ${factor} for this model.`,
        {
          code: "USAGE",
          hint: `The nearest is ${nearest(width, factor)}×${nearest(height, factor)}.`,
        },
      );
    }
  }
  const most = pipe.process.trainTimesteps;
  const steps = line.steps ?? options.steps;
  if (steps < 1 || steps > most)
    throw new UserError(`--steps is from 1 to ${most}, not ${steps}.`, { code: "USAGE" });
  checkJudgeOptions(options, { steps });
  if (options.eta < 0 || options.eta > 1) throw new UserError("--eta is from 0 to 1.", { code: "USAGE" });
  const {
    prompt,
    negative = options.negative,
    seed = options.seed,
    guidance = options.guidanceScale ?? pipe.guidanceScale,
  } = line;
  const model = basename(resolve(options.model));
  const chosen = chosenSampler(options);
  const { judge, candidates, firstBranch, lastBranch, innerSteps } = options;
  const sampler = judge === undefined ? (chosen.sampler ?? pipe.schedule.ownSampler()) : "ddim";
  if (chosen.schedule !== undefined) requireSchedule(sampler, chosen.schedule);
  const schedule = chosen.schedule ?? pipe.schedule.spacingOf(sampler);
  const common = {
    prompt,
    negative,
    width,
    height,
    steps,
    guidance,
    eta: judge !== undefined && options.eta === 0 ? 1 : options.eta,
    sampler,
    schedule,
    model,
    loras,
    dtype: options.dtype,
    ...(judge !== undefined && {
      judge: { name: basename(judge), candidates, firstBranch, lastBranch, innerSteps },
    }),
  };
  return Array.from({ length: options.count }, (_, i) => ({ ...common, seed: seed + i }));
}

/** A prompt's line without the settings that the grid gives. */
function withoutChanged(line: PromptLine, { options }: GridCell): PromptLine {
  return {
    ...line,
    ...(options.guidanceScale !== undefined && { guidance: undefined }),
    ...(options.steps !== undefined && { steps: undefined }),
    ...(options.seed !== undefined && { seed: undefined }),
  };
}

const nearest = (size: number, factor: number): number => Math.max(1, Math.round(size / factor)) * factor;

/** Groups neighbouring images that one call can make. */
function batchesOf(
  images: readonly ImageParameters[],
  most: number,
  syntax: PromptSyntax,
  sourceOf: (image: ImageParameters) => string,
): ImageParameters[][] {
  const alike = (image: ImageParameters): string => {
    const { width, height, steps, guidance, eta, sampler, negative, prompt, loras } = image;
    // Weighted prompts may be of any number of contexts, so that only equal ones share a call.
    return JSON.stringify([
      ...[sourceOf(image), width, height, steps, guidance, eta, sampler, negative, loras],
      isCut(prompt, syntax) || prompt,
    ]);
  };
  const batches: ImageParameters[][] = [];
  for (const image of images) {
    const last = batches.at(-1);
    if (last && last.length < most && alike(last[0] as ImageParameters) === alike(image)) last.push(image);
    else batches.push([image]);
  }
  return batches;
}

type Rgb = ReturnType<typeof rgbFromPixels>;

/** The judge for each size of images, and what it costs. */
interface Judges {
  of(size: readonly [height: number, width: number]): StepAwareJudge;
  meter: WorkMeter;
}

/** Opens the judge once for each size of the images. Throws UserErrors as `openJudge`. */
async function openJudges(
  pipe: TextToImage,
  images: readonly ImageParameters[],
  { judge = "", seed, quiet }: SampleCommandOptions,
  meter: WorkMeter,
): Promise<Judges> {
  const given =
    isFolder(judge) || !/^[a-z-]+:./.test(judge) ? judge : await resolveRewardWords(judge, { quiet });
  const choice = isFolder(given) ? { judge: "spm", spm: given, seed } : { judge: given, spm: null, seed };
  const found = new Map<string, StepAwareJudge>();
  for (const { height, width } of images) {
    const size = [height / pipe.vae.factor, width / pipe.vae.factor] as const;
    if (!found.has(String(size))) found.set(String(size), await openJudge(choice, pipe, size));
  }
  return { of: (size) => found.get(String(size)) as StepAwareJudge, meter };
}

/** What an image took on average, beside what it would have taken without a judge. */
function costWords(passes: Record<Pass, number>, images: readonly ImageParameters[], sides: number): string {
  const each = (pass: Pass): string => (passes[pass] / images.length).toFixed(0);
  const plain = (sides * images.reduce((sum, { steps }) => sum + steps, 0)) / images.length;
  return (
    `an image took ${each("unetSampling")} passes of the denoiser, ${each("vaeDecode")} decodes and ${each("judgeImage")} looks of the judge; ` +
    `without a judge ${plain.toFixed(0)} passes and one decode`
  );
}

/** → RGB bytes of each image. */
function sampleBatch(
  pipe: TextToImage,
  batch: readonly ImageParameters[],
  options: VaeOptions &
    SamplerOptions & {
      promptSyntax: PromptSyntax;
      judges?: Judges;
      encoded?: ReturnType<typeof encodeBatches>;
    },
  onStep: () => void,
): Rgb[] {
  const { width, height, steps, guidance, eta, sampler, judge, ...first } = batch[0] as ImageParameters;
  const syntax = options.promptSyntax;
  const negative = negativeWords(first.negative, syntax);
  return noGrad(() =>
    scope(() => {
      const drawn = {
        prompts: batch.map(({ prompt }) => (syntax === "plain" ? prompt : takeLoraTags(prompt).prompt)),
        syntax,
        generators: batch.map(({ seed }) => new Generator(seed)),
        latentSize: [height / pipe.vae.factor, width / pipe.vae.factor] as const,
        negativePrompt: negative === "" ? undefined : negative,
        conditions: options.encoded?.(batch),
        guidanceScale: guidance,
        onStep,
      };
      const latents =
        judge && options.judges
          ? sampleJudged(pipe, drawn, { ...judge, steps, eta }, options.judges)
          : sampleLatents(pipe, {
              ...{ ...drawn, steps, eta, sampler },
              schedule: chosenSampler(options).schedule, // not the config's schedule, which is followed anyway
            });
      const pixels = pipe.vae.decodeLatents(latents, decodeOptions(options, width, height));
      const nameOf = (i: number): string => {
        const { prompt, seed } = batch[i] as ImageParameters;
        return `for ${JSON.stringify(prompt)}, seed ${seed}`;
      };
      requireFinite(pixels, pipe, nameOf);
      return batch.map((_, i) => rgbFromPixels(pixels.narrow(0, i, 1)));
    }),
  );
}

/** `sampleLatents` with a judge that chooses among candidates. */
function sampleJudged(
  pipe: TextToImage,
  drawn: SampleOptions & Required<Pick<SampleOptions, "latentSize" | "guidanceScale">>,
  settings: JudgedSteps,
  { of, meter }: Judges,
): Tensor {
  const { prompts, generators, latentSize, guidanceScale, negativePrompt, syntax, onStep } = drawn;
  const { denoiser: model, vae } = pipe;
  const [height, width] = latentSize;
  const size = [height * vae.factor, width * vae.factor] as const;
  const conditions = drawn.conditions ?? pipe.encode(prompts, { negativePrompt, syntax, size });
  const scorer = of(latentSize).prepare(prompts, meter);
  const latents = sampleByJudge({
    denoiser: guidedDenoiser({ model, ...conditions, guidanceScale }),
    process: pipe.process.forSampling({ latentSize }),
    ...{ scorer, generators, settings, meter, onStep },
    decode: (of) => vae.decodeLatents(of),
    latentShape: model.latentShape(latentSize),
    device: model.device,
  });
  scorer.dispose?.();
  return latents;
}

/** Warns of the words that do not fit into the model's context. */
function warnOfCutWords(bar: ProgressBar, pipe: TextToImage, prompt: string, syntax: PromptSyntax): void {
  const idsOf = (text: string): string => scope(() => String(pipe.tokenize([text]).at(-1)?.toNumbers()));
  const words = prompt.split(/\s+/);
  const seen = idsOf(prompt);
  const suffices = (kept: number): boolean => idsOf(words.slice(0, kept).join(" ")) === seen;
  // The fewest words that give the model the same tokens.
  let [tooFew, kept] = [-1, words.length];
  while (kept - tooFew > 1) {
    const middle = (tooFew + kept) >> 1;
    if (suffices(middle)) kept = middle;
    else tooFew = middle;
  }
  if (kept === words.length || words[kept] === "") return;
  const text = words.slice(kept).join(" ");
  const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
  bar.say(`warning: the prompt is longer than what the model reads; left out: ${shown}`);
  if (syntax === "auto") bar.say("--prompt-syntax a1111 reads all of it, in contexts of 75 tokens");
}

/** Letters of left-out words that a warning shows. */
const MOST_SHOWN = 500;

/** One more than the largest number in the folder: nothing is written over. */
function nextNumber(folder: string): number {
  const numbers = readdirSync(folder).flatMap((name) => /^(\d{5,})-\d+\.png$/.exec(name)?.[1] ?? []);
  return numbers.map(Number).reduce((most, number) => Math.max(most, number), -1) + 1;
}

async function writeSheet(
  images: readonly (ImageParameters & { file: string })[],
  { output, count }: SampleCommandOptions,
): Promise<string> {
  const columns = count > 1 ? count : Math.ceil(Math.sqrt(images.length));
  const side = images.reduce((most, { width, height }) => Math.max(most, width, height), 0);
  const sheet = await contactSheet(
    images.map(({ file }) => readFileSync(file)),
    { columns, side },
  );
  const file = join(output, `grid-${basename(images[0]?.file as string)}`);
  writeFileAtomic(file, sheet);
  return file;
}
