// Golden values of whole samplings: text to image, call by call of the UNet, with the noises of the file.
import { join } from "node:path";
import { noGrad, scope, type Tensor } from "@spo/torch";
import { loadTextToImage } from "../families/load-text-to-image.js";
import { allRows, type GuidedConditions } from "../models/conditions.js";
import { guidedDenoiser } from "../pipelines/denoiser.js";
import { gaussianLogProb } from "../process/gaussian.js";
import { CheckpointSchedule } from "../samplers/checkpoint-schedule.js";
import type { SamplerState } from "../samplers/sampler.js";
import { makeSampler, SAMPLERS, type SamplerName, samplerOf } from "../samplers/samplers.js";
import type { SchedulerConfig } from "../samplers/scheduler-config.js";
import { alphaBarOf } from "../samplers/sigmas.js";
import { type GoldenSet, namesIn } from "./golden-set.js";
import { type Case, type Check, collectCases, largest, openGolden } from "./verify-check.js";

const PUBLISHED = {
  sd15: [
    "ddim-eta1",
    "ddim-eta0",
    "ddim-vpred",
    "euler",
    "euler-ancestral",
    "dpmpp-2m",
    "dpmpp-2m-karras",
    "pndm",
  ],
  sdxl: ["ddim-eta1", "ddim-eta0", "euler", "euler-ancestral", "dpmpp-2m"],
} as const;

const TRAJECTORY = /^trajectory-(sd15|sdxl)-(.+)\.safetensors$/;

const published = Object.entries(PUBLISHED).flatMap(([family, names]) =>
  names.map((name) => `trajectory-${family}-${name}.safetensors`),
);

/** Those that a folder of fixtures must have. */
export const trajectoryChecks: readonly Check[] = published.map(checkOf);

/** Those that it has besides: `trajectory-<family>-<any name>.safetensors`, of other settings. */
export const furtherTrajectoryChecks = (set: GoldenSet): Check[] =>
  namesIn(set)
    .filter((file) => TRAJECTORY.test(file) && !published.includes(file))
    .map(checkOf);

function checkOf(file: string): Check {
  const [, family, name] = TRAJECTORY.exec(file) as unknown as [string, string, string];
  return {
    name: `trajectory, ${family} ${name}`,
    files: [file, `tiny-${family}`],
    run: (dir) => checkTrajectory(dir, file, `tiny-${family}`),
  };
}

interface Settings {
  steps: number;
  guidance_scale: number;
  eta?: number;
  prompts: string[];
  negative_prompt: string | null;
  scheduler_class?: string;
  scheduler_config: SchedulerConfig;
  /** How far the reference's own float32 is from its float64, by name. */
  fp32_error_vs_fp64?: Record<string, number>;
}

function checkTrajectory(dir: string, name: string, model: string): Case[] {
  return noGrad(() =>
    collectCases((cases) => {
      const { file, get, meta } = openGolden(dir, name);
      const settings = meta as unknown as Settings;
      const { steps, guidance_scale: guidanceScale, eta, prompts, negative_prompt: negative } = settings;
      const pipe = loadTextToImage(join(dir, model)).withScheduler(settings.scheduler_config);
      const { vae } = pipe;
      const schedule = new CheckpointSchedule(settings.scheduler_config);
      const sampler = settings.scheduler_class
        ? samplerOf({ ...settings.scheduler_config, _class_name: settings.scheduler_class })
        : samplerNamed(name);
      const initial = get("initial_latents");
      const [height, width] = initial.shape.slice(2) as [number, number];
      const conditions = pipe.encode(prompts, {
        negativePrompt: negative ?? undefined,
        size: [height * vae.factor, width * vae.factor],
      });
      const { conditional, unconditional }: GuidedConditions = conditions;
      // Its float32 is e from its float64, ours may be twice as far: together 3·e.
      const allowed = (key: string, tolerance: number): number =>
        Math.max(tolerance, 3 * (settings.fp32_error_vs_fp64?.[key] ?? 0));
      const near = (key: string, actual: Tensor | undefined, tolerance: number): void => {
        if (actual && file.has(key)) cases.near(key, actual, get(key), allowed(key, tolerance));
      };
      for (const [i, ids] of pipe.tokenize(prompts).entries()) {
        const key = i === 0 ? "input_ids" : `input_ids_${i + 1}`;
        if (file.has(key)) cases.exact(key, ids.toNumbers(), get(key).toNumbers());
      }
      near("prompt_embeds", conditional.context, 1e-5);
      near("negative_prompt_embeds", unconditional.context, 1e-5);
      near("pooled", conditional.textEmbeds, 1e-5);
      near("negative_pooled", unconditional.textEmbeds, 1e-5);
      near("time_ids", conditional.timeIds, 0);

      const way = makeSampler(sampler, schedule, steps, { eta });
      const timesteps = get("timesteps").toNumbers();
      if (timesteps.every(Number.isInteger)) cases.exact("timesteps", way.timesteps, timesteps);
      // Timesteps between are read off float32 logarithms, whose last bit differs from machine to machine.
      else
        cases.list.push({ case: "timesteps", maxError: farthest(way.timesteps, timesteps), tolerance: 1e-4 });
      const sigmas = way.sigmas ?? [];
      // Clean latents + σ·noise; tolerances are for Stable Diffusion's largest σ, 15.
      const noisy = sampler.startsWith("euler") ? Math.max(15, ...sigmas) / 15 : 1;
      if (file.has("sigmas"))
        cases.list.push({
          case: "sigmas",
          maxError: farthest(sigmas, get("sigmas").toNumbers()),
          tolerance: (1e-5 * Math.max(15, ...sigmas)) / 15,
        });

      const worst = new Map<string, number>();
      const see = (key: string, call: number, actual: Tensor): void => {
        if (!file.has(key)) return;
        const error = largest(actual.sub(get(key).select(0, call)));
        const before = worst.get(key) ?? 0;
        worst.set(key, error <= before ? before : error); // NaN stays: no number is at least as large
      };
      const predict = guidedDenoiser({ model: pipe.denoiser, ...conditions, guidanceScale }).forRows(
        allRows(conditional),
      );
      let state: SamplerState = { x: initial.mul(way.initialScale), history: [] };
      near("scaled_initial_latents", state.x, 1e-5 * noisy);
      for (const [i, t] of way.timesteps.entries()) {
        state = scope(() => {
          const shown = way.input(state.x, i);
          const output = predict(shown, t);
          const sigma = way.sigmas?.[i];
          const eps = schedule.epsOf(
            shown,
            output,
            sigma === undefined ? schedule.alphaBar(t) : alphaBarOf(sigma),
          );
          see("model_input", i, shown);
          see("v", i, output);
          see("output", i, output);
          see("eps", i, eps);
          const next = way.step(state, output, i, () => get("noises").select(0, i));
          if (sampler === "ddim") seeGaussian(t, output, next.x, i);
          see("latents", i, next.x);
          return next;
        });
      }
      /** The Gaussian behind a step of DDIM. */
      function seeGaussian(t: number, output: Tensor, next: Tensor, i: number): void {
        const times = { t, previous: t - schedule.stride(steps), eta: eta ?? 0 };
        const { x0, mean, std } = schedule.step(state.x, output, times);
        see("x0", i, x0);
        see("mean", i, mean);
        see(
          "std",
          i,
          mean
            .mean([1, 2, 3])
            .mul(0)
            .add(std as number),
        );
        if (std !== 0) see("log_prob", i, gaussianLogProb(next, { mean, std }));
      }
      const tolerances: Record<string, number> = {
        // Divided by √ᾱ or √(1−ᾱ), which magnifies the model's rounding.
        x0: file.has("v") ? 1e-4 : 1e-3,
        eps: file.has("output") ? 1e-3 : 1e-4,
        std: 1e-5,
        log_prob: 2e-5,
        latents: sampler.startsWith("euler") ? 3e-4 * noisy : 1e-4,
      };
      for (const [key, error] of worst)
        cases.list.push({
          case: `${key}, ${steps} steps`,
          maxError: error,
          tolerance: allowed(key, tolerances[key] ?? 1e-4),
        });
      near("image01", vae.decodeLatents(state.x).div(2).add(0.5).clamp(0, 1), 1e-4);
    }),
  );
}

/** Largest difference; NaN where one list is longer. */
const farthest = (actual: readonly number[], expected: readonly number[]): number =>
  actual.length === expected.length
    ? Math.max(...actual.map((value, i) => Math.abs(value - (expected[i] as number))))
    : Number.NaN;

/** The sampler that a file's name speaks of: `trajectory-sd15-dpmpp-2m-karras.safetensors` → dpmpp-2m. */
function samplerNamed(file: string): SamplerName {
  const names = Object.keys(SAMPLERS) as SamplerName[];
  const [found] = names.filter((name) => file.includes(`-${name}`)).sort((a, b) => b.length - a.length);
  return found ?? "ddim";
}
