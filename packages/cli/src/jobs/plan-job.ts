// Plans of jobs, as tables or JSON.
import { resolveDevice, setThreads } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { resolveConfig } from "spo/config";
import {
  dpoJob,
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
  samplingJob,
  spmJob,
  spoJob,
  weightsDtype,
} from "spo/plan";
import { dpoPresets, spmPresets, spoPresets } from "spo/presets";
import { TrainDpoConfig, TrainSpmConfig, TrainSpoConfig } from "spo/schemas";
import type { PlanOptions, PlanSampleOptions } from "../commands/plan.js";
import { resolveModel } from "../options/resolve-model.js";
import { decodeOptions } from "../options/vae-options.js";
import { put, putJson, say } from "../terminal/terminal.js";

export async function planSample(options: PlanSampleOptions): Promise<void> {
  const configs = pipelineConfigs(await configsOf(options.model, options));
  tell(options, {
    device: options.device,
    models: () => planModels(configs, { dtype: options.dtype }),
    job: (models) => {
      const { factor } = models.vae;
      const [height, width] = models.latentSize.map((n) => n * factor) as [number, number];
      const size = [options.height ?? height, options.width ?? width] as const;
      if (size.some((n) => n === 0 || n % factor !== 0)) {
        throw new UserError(`${size[1]}×${size[0]}: width and height must be multiples of ${factor}.`, {
          code: "USAGE",
        });
      }
      return samplingJob(models, {
        images: options.count,
        batch: Math.min(options.batch, options.count),
        steps: options.steps,
        guidanceScale: options.guidance,
        latentSize: [size[0] / factor, size[1] / factor],
        decode: decodeOptions(options, size[1], size[0]),
      });
    },
  });
}

export async function planTraining(
  method: "spo" | "spm" | "dpo",
  words: readonly string[],
  options: PlanOptions,
): Promise<void> {
  const common = { model: words.includes("sdxl") ? "sdxl" : "sd15", output: "-" };
  if (method === "spo") {
    const defaults = { ...common, spm: "vit-h", prompts: "-" };
    const config = await resolveConfig(TrainSpoConfig, { defaults, presets: spoPresets, args: words });
    const configs = pipelineConfigs(await configsOf(config.model, options));
    const spm = preferenceConfig(await configsOf(config.spm ?? "vit-h", options));
    tell(options, {
      device: config.device,
      models: () => planModels(configs, { spm, dtype: weightsDtype(config) }),
      job: (models) => spoJob(models, config, configs.scheduler),
    });
  } else if (method === "dpo") {
    const defaults = { ...common, pairs: ["-"] };
    const config = await resolveConfig(TrainDpoConfig, { defaults, presets: dpoPresets, args: words });
    const configs = pipelineConfigs(await configsOf(config.model, options));
    tell(options, {
      device: config.device,
      models: () => planModels(configs, { dtype: weightsDtype(config) }),
      job: (models) => dpoJob(models, config),
    });
  } else {
    const defaults = { ...common, init: "vit-h", pairs: ["-"] };
    const config = await resolveConfig(TrainSpmConfig, { defaults, presets: spmPresets, args: words });
    const configs = pipelineConfigs(await configsOf(config.model, options));
    const spm = preferenceConfig(await configsOf(config.init, options));
    tell(options, {
      device: config.device,
      models: () => planModels(configs, { spm, relabels: config.relabel !== undefined }),
      job: (models) => spmJob(models, config),
    });
  }
}

const configsOf = (model: string, { quiet }: PlanOptions): Promise<string> =>
  resolveModel(model, { quiet, configsOnly: true });

function tell(
  { measure, pricePerHour, threads, json, quiet }: PlanOptions,
  {
    device,
    models,
    job,
  }: { device: string; models: () => PlannedModels; job: (models: PlannedModels) => Job },
): void {
  if (pricePerHour !== undefined && !measure) {
    throw new UserError("--price-per-hour needs the time, which --measure finds.", { code: "USAGE" });
  }
  const where = resolveDevice(device);
  if (threads !== undefined) setThreads(threads);
  const plan = planJob(job(models()));
  let measured: Measurement | undefined;
  if (measure) {
    const before = process.memoryUsage.rss();
    measured = measureJob(job(giveValues(models(), where)), before, (name) => {
      if (!quiet) say(`measuring ${name} …`);
    });
  }
  const cost = measured && pricePerHour !== undefined ? measured.hours * pricePerHour : undefined;
  if (json) putJson({ schema: "spo.plan/1", ...plan, measured, cost });
  else for (const line of lines(plan, measured, cost)) put(line);
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
