// Plans of jobs, as tables or JSON.
import { FAMILIES, type PipelineConfigs } from "@spo/diffusion";
import { kebabCase, resolveConfig } from "@spo/records/config";
import { requireDeviceName, resolveDevice, scope, setThreads } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import {
  dpoJob,
  dpoSavings,
  type Fit,
  fitInto,
  giveValues,
  type Job,
  type Measurement,
  measureJob,
  type Plan,
  type PlannedModels,
  pipelineConfigs,
  planJob,
  planModels,
  preferenceConfig,
  type Saved,
  type Saving,
  type Side,
  sampleSavings,
  samplingJob,
  spmJob,
  spmSavings,
  spoJob,
  spoSavings,
  weightsDtype,
} from "spo/plan";
import { dpoPresets, spmPresets, spoPresets } from "spo/presets";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import type { CommonOptions } from "../options/common-options.js";
import { resolveModel } from "../options/resolve-model.js";
import { decodeOptions, type VaeOptions } from "../options/vae-options.js";
import { put, putJson, say } from "../terminal/terminal.js";

/** Of every plan. */
export interface PlanOptions extends CommonOptions {
  measure?: boolean;
  pricePerHour?: number;
  threads?: number;
  /** Bytes to fit into. */
  memory?: number;
}

/** Of `spo plan sample`. */
export interface PlanSampleOptions extends PlanOptions, VaeOptions {
  model: string;
  count: number;
  batch: number;
  width?: number;
  height?: number;
  steps: number;
  guidanceScale: number;
  dtype: "float32" | "bfloat16" | "float16";
  promptCache?: string;
  device: string;
}

export async function planSample(options: PlanSampleOptions): Promise<void> {
  const configs = pipelineConfigs(await configsOf(options.model, options));
  const [height, width] = sideOf(configs);
  const asked = { ...options, width: options.width ?? width, height: options.height ?? height };
  const { factor } = planModels(configs).vae;
  if ([asked.width, asked.height].some((n) => n === 0 || n % factor !== 0)) {
    throw new UserError(`${asked.width}×${asked.height}: width and height must be multiples of ${factor}.`, {
      code: "USAGE",
    });
  }
  tell(options, {
    device: options.device,
    settings: asked,
    models: ({ dtype }) => planModels(configs, { dtype }),
    job: (models, settings) =>
      samplingJob(models, {
        images: settings.count,
        batch: Math.min(settings.batch, settings.count),
        steps: settings.steps,
        guidanceScale: settings.guidanceScale,
        latentSize: [settings.height / factor, settings.width / factor],
        decode: decodeOptions(settings, settings.width, settings.height),
        promptCache: settings.promptCache,
        device: options.device,
      }),
    savings: sampleSavings<typeof asked>(),
  });
}

/** Stands for what a plan need not know. */
const UNKNOWN = "-";

/** The command's own, for "did you mean". */
const OPTIONS = ["memory", "measure", "price-per-hour", "threads", "json", "quiet"];

export async function planTraining(
  method: "spo" | "spm" | "dpo",
  words: readonly string[],
  options: PlanOptions,
): Promise<void> {
  // A preset is named by the model that it is for: lpo-sdxl, sd35-medium, sd15-8gb.
  const preset = words.find((word) =>
    Object.hasOwn({ spo: spoPresets, spm: spmPresets, dpo: dpoPresets }[method], word),
  );
  const family = FAMILIES.find(({ name }) => new RegExp(`(^|-)${name}`).test(preset ?? "")) ?? FAMILIES[0];
  const common = { model: family.name, output: UNKNOWN };
  if (method === "spo") {
    // The judge of LPO's presets looks at latents.
    const latent = words.some((word) => Object.hasOwn(spoPresets, word) && word.startsWith("lpo-"));
    const defaults = { ...common, spm: latent ? "latent" : "vit-h", prompts: UNKNOWN };
    const config = await resolveConfig(TrainSpoConfig, {
      defaults,
      presets: spoPresets,
      args: words,
      options: OPTIONS,
    });
    const configs = pipelineConfigs(await configsOf(config.model, options));
    const spm = preferenceConfig(await scorerOf(config.spm ?? "vit-h", options));
    tell(options, {
      device: config.device,
      settings: config,
      models: (config) =>
        planModels(configs, {
          ...{ spm, dtype: weightsDtype(config), baseDtype: config.baseDtype, spmDtype: config.spmDtype },
        }),
      job: spoJob,
      savings: spoSavings(sidesOf(configs)),
    });
  } else if (method === "dpo") {
    const defaults = { ...common, pairs: [UNKNOWN] };
    const config = await resolveConfig(TrainDpoConfig, {
      defaults,
      presets: dpoPresets,
      args: words,
      options: OPTIONS,
    });
    const configs = pipelineConfigs(await configsOf(config.model, options));
    tell(options, {
      device: config.device,
      settings: config,
      models: (config) => planModels(configs, { dtype: weightsDtype(config), baseDtype: config.baseDtype }),
      job: dpoJob,
      savings: dpoSavings(sidesOf(configs)),
    });
  } else {
    const defaults = { ...common, pairs: [UNKNOWN] };
    const config = await resolveConfig(TrainSpmConfig, {
      defaults,
      presets: spmPresets,
      args: words,
      options: OPTIONS,
    });
    const configs = pipelineConfigs(await configsOf(config.model, options));
    const { teacher, distill } = config;
    const scorer = teacher ?? config.init;
    const start = scorer === null ? "vit-h" : await scorerOf(scorer, options);
    const spm = teacher === null && config.kind === "latent" ? "latent" : preferenceConfig(start);
    if (teacher !== null && spm === "latent")
      throw new UserError(`${teacher} looks at latents: a training by such a teacher is not planned.`, {
        code: "USAGE",
        hint: "Plan with a teacher that looks at images, as vit-h.",
      });
    const lrmSettings = {
      guidanceScale: config.featureGuidance,
      multiScale: config.multiScale,
      multiScaleCfg: false,
    };
    tell(options, {
      device: config.device,
      settings: teacher !== null && config.pairs[0] === UNKNOWN ? { ...config, pairs: [] } : config,
      models: (config) =>
        planModels(configs, {
          ...{ spm, lrmSettings, relabels: config.relabel !== undefined },
          student: teacher === null ? undefined : (distill ?? "vectors"),
          ...{ dtype: config.baseDtype, spmDtype: config.dtype },
        }),
      job: spmJob,
      savings: spmSavings(sidesOf(configs)),
    });
  }
}

const configsOf = (model: string, { quiet }: PlanOptions): Promise<string> =>
  resolveModel(model, { quiet, configsOnly: true });

/** A preference model that is one file brings no config: it counts as one of the published size, and is not fetched. */
const scorerOf = async (model: string, options: PlanOptions): Promise<string> =>
  /\.(bin|pt|pth|ckpt|safetensors)(@.*)?$/i.test(model) ? "vit-h" : configsOf(model, options);

/** Height and width of the images that a model was made for. */
function sideOf(configs: PipelineConfigs): [number, number] {
  const { latentSize, vae } = planModels(configs);
  return [latentSize[0] * vae.factor, latentSize[1] * vae.factor];
}

const sidesOf = (configs: PipelineConfigs): Side => ({
  own: Math.min(...sideOf(configs)),
  multiple: planModels(configs).vae.factor,
});

interface Planned<S> {
  device: string;
  settings: S;
  models: (settings: S) => PlannedModels;
  job: (models: PlannedModels, settings: S) => Job;
  savings: readonly Saving<S>[];
}

function tell<S>(
  { measure, pricePerHour, threads, json, quiet, memory }: PlanOptions,
  { device, settings, models, job, savings }: Planned<S>,
): void {
  if (pricePerHour !== undefined && !measure) {
    throw new UserError("--price-per-hour needs the time, which --measure finds.", { code: "USAGE" });
  }
  // A plan needs no device; only what is measured runs on one.
  requireDeviceName(device);
  const where = measure ? resolveDevice(device) : undefined;
  if (threads !== undefined) setThreads(threads);
  const planOf = (settings: S): Plan => scope(() => planJob(job(models(settings), settings)));
  const plan = planOf(settings);
  const fit =
    memory === undefined
      ? undefined
      : fitInto(memory, settings, plan, savings, (settings) => {
          if (!quiet && !json) say("trying smaller settings …");
          return planOf(settings);
        });
  let measured: Measurement | undefined;
  if (where !== undefined) {
    const before = process.memoryUsage.rss();
    measured = measureJob(job(giveValues(models(settings), where), settings), before, (name) => {
      if (!quiet) say(`measuring ${name} …`);
    });
  }
  const cost = measured && pricePerHour !== undefined ? measured.hours * pricePerHour : undefined;
  const verdict = fit && verdictOf(fit, plan);
  if (json) putJson({ schema: "spo.plan/1", ...plan, measured, cost, fit: verdict });
  else for (const line of [...lines(plan, measured, cost), ...(verdict ? fitLines(verdict) : [])]) put(line);
  if (!quiet && !json && device !== "cpu") say(NOT_MEASURED);
  if (fit && !fit.fits) process.exitCode = 1; // a check that failed
}

/** What is told of a fit. */
interface Verdict {
  memory: number;
  fits: boolean;
  /** With the settings that were found. */
  fitsWith: boolean;
  peak: number;
  savings: readonly Saved[];
  /** The savings as words of a command line. */
  settings: string;
}

/** Said of a plan for another device: the allocators that are played through are a CPU's. */
const NOT_MEASURED =
  "Reckoned as on a CPU. A GPU's driver and allocator take more, some hundred MB and up; none has been measured.";

const verdictOf = <S>({ memory, fits, fitsWith, savings }: Fit<S>, { memory: { peak } }: Plan): Verdict => ({
  memory,
  fits,
  fitsWith,
  peak,
  savings,
  settings: savings
    .map(({ setting, value }) =>
      setting === "vae-slicing" ? `--${setting}` : `--${kebabCase(setting)} ${value}`,
    )
    .join(" "),
});

function fitLines({ memory, fits, fitsWith, peak, savings, settings }: Verdict): string[] {
  const room = bytes(memory);
  if (fits) return ["", `It fits in ${room}: ${bytes(memory - peak)} are to spare.`];
  const rows = savings.map(({ setting, value, cost, peak, peakIn, work }) => [
    `${kebabCase(setting)} ${value}`,
    `${bytes(peak)}, in ${peakIn}`,
    `${Math.round(100 * work)} %`,
    cost,
  ]);
  return [
    "",
    `It does not fit in ${room}: ${bytes(peak - memory)} are missing.`,
    ...(savings.length > 0
      ? ["", ...table([["with, one after the other", "peak", "work", "what it costs"], ...rows]), ""]
      : []),
    fitsWith
      ? `It fits with these settings: ${settings}`
      : savings.length > 0
        ? `Nor does it fit with all of them: ${settings}`
        : "No setting makes it smaller.",
  ];
}

function lines(
  { memory, work, phases }: Plan,
  measured: Measurement | undefined,
  cost: number | undefined,
): string[] {
  const seconds = new Map(measured?.phases.map((phase) => [phase.name, phase.seconds]));
  const rows = phases.map(({ name, runs, activationBytes, flops }) => [
    name,
    String(Math.round(runs)),
    bytes(activationBytes),
    number(flops.forward + flops.backward, "FLOP"),
    seconds.has(name) ? `${(seconds.get(name) as number).toPrecision(3)} s` : "",
  ]);
  return [
    ...table([["phase", "runs", "activations", "work of a run", measured ? "time of a run" : ""], ...rows]),
    "",
    ...table(
      [
        ["weights", bytes(memory.weights)],
        ["adapter", memory.trained ? bytes(memory.trained) : ""],
        ["optimizer", memory.optimizer ? bytes(memory.optimizer) : ""],
        ["data", memory.data ? bytes(memory.data) : ""],
        ["activations", bytes(memory.activations)],
        ["the heap's reserve", bytes(memory.heap)],
        ["engine", bytes(memory.engine)],
        ["peak", `${bytes(memory.peak)}, in ${memory.peakIn}`],
        ["measured growth", measured ? bytes(measured.rssGrowth) : ""],
        ["passes", passes(work.passes)],
        ["work in all", number(work.flops.forward + work.flops.backward, "FLOP")],
        ["time in all", measured ? `${measured.hours.toPrecision(3)} hours` : ""],
        ["cost", cost === undefined ? "" : cost.toFixed(2)],
      ].filter(([, value]) => value !== ""),
    ),
  ];
}

const passes = (of: Plan["work"]["passes"]): string =>
  Object.entries(of)
    .map(([kind, n]) => `${Math.round(n)} ${kind}`)
    .join(", ");

const bytes = (n: number): string =>
  n < 1e9 ? `${(n / 1e6).toPrecision(3)} MB` : `${(n / 1e9).toPrecision(3)} GB`;

function number(n: number, unit: string): string {
  const [scale, prefix] = (
    [
      [1e18, "E"],
      [1e15, "P"],
      [1e12, "T"],
      [1e9, "G"],
    ] as const
  ).find(([at]) => n >= at) ?? [1e6, "M"];
  return `${(n / scale).toPrecision(3)} ${prefix}${unit}`;
}

/** Columns as wide as their widest cell. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] as readonly string[]).map((_, i) =>
    Math.max(...rows.map((row) => (row[i] as string).length)),
  );
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] as number))
      .join("  ")
      .trimEnd(),
  );
}
