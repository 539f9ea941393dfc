// Samplers and schedules by the names that people know: of the web UI (A1111), ComfyUI, kohya, InvokeAI and diffusers. No tensor code.
import { UserError } from "@spo/torch/files";
import type { SamplerName } from "./scheduler-classes.js";
import type { SchedulerConfig } from "./scheduler-config.js";

export type { SamplerName };

/** Fields by which a config asks for levels of its own; a schedule sets one of them or none. */
const LEVEL_FIELDS = {
  use_karras_sigmas: false,
  use_exponential_sigmas: false,
  use_beta_sigmas: false,
  use_lu_lambdas: false,
} as const satisfies SchedulerConfig;

/**
 * Schedules of the visited noise levels: the fields that each sets in a scheduler's config. Source: diffusers' documentation, "Schedulers",
 * table "Noise schedules".
 */
export const SCHEDULES = {
  karras: { use_karras_sigmas: true },
  exponential: { use_exponential_sigmas: true, timestep_spacing: "linspace" },
  beta: { use_beta_sigmas: true, timestep_spacing: "linspace" },
  lu: { use_lu_lambdas: true },
  uniform: { timestep_spacing: "linspace" },
  "sgm-uniform": { timestep_spacing: "trailing" },
  "ddim-uniform": { timestep_spacing: "leading" },
} as const satisfies Readonly<Record<string, SchedulerConfig>>;

/** A schedule by its name on the command line. */
export type ScheduleName = keyof typeof SCHEDULES;

/** A config with the visited levels where a schedule of that name has them. */
export const spaced = (config: SchedulerConfig, spacing: ScheduleName): SchedulerConfig => ({
  ...config,
  ...LEVEL_FIELDS,
  ...SCHEDULES[spacing],
});

/** The web UI's names of the samplers. */
export const WEBUI_SAMPLERS: Readonly<Record<SamplerName, string>> = {
  ddim: "DDIM",
  euler: "Euler",
  "euler-ancestral": "Euler a",
  "dpmpp-2m": "DPM++ 2M",
  "dpmpp-2m-sde": "DPM++ 2M SDE",
  pndm: "PLMS",
  lcm: "LCM",
};

/** The web UI's names of the schedules. */
export const WEBUI_SCHEDULES: Readonly<Record<ScheduleName, string>> = {
  karras: "Karras",
  exponential: "Exponential",
  beta: "Beta",
  lu: "Lu",
  uniform: "Uniform",
  "sgm-uniform": "SGM Uniform",
  "ddim-uniform": "DDIM",
};

/** Further names, as `squeezed` has them. */
const SAMPLER_ALIASES: Readonly<Record<SamplerName, readonly string[]>> = {
  ddim: ["ddimscheduler", "kddim"],
  euler: ["eulerdiscrete", "eulerdiscretescheduler", "keuler"],
  "euler-ancestral": [
    ...["eulera", "keulera", "keulerancestral", "eulerancestraldiscrete", "eulerancestraldiscretescheduler"],
  ],
  "dpmpp-2m": [
    ...["kdpmpp2m", "dpmsolvermultistep", "dpmsolvermultistepscheduler", "dpmsolver", "dpmsolverpp", "dpmpp"],
  ],
  "dpmpp-2m-sde": ["dpmpp2msdegpu", "kdpmpp2msde", "sdedpmsolverpp"],
  pndm: ["plms", "pndmscheduler"],
  lcm: ["lcmscheduler"],
};

const SCHEDULE_ALIASES: Readonly<Record<ScheduleName, readonly string[]>> = {
  karras: ["k"],
  exponential: [],
  beta: [],
  lu: [],
  uniform: ["normal"],
  "sgm-uniform": ["simple", "trailing"],
  "ddim-uniform": ["ddim", "leading"],
};

/** Known samplers that are not supported, and the nearest supported one. */
const ABSENT: readonly [pattern: RegExp, name: string, nearest: SamplerName][] = [
  [/^(uni_?pc|unipc)/, "UniPC", "dpmpp-2m"],
  [/^(k?heun|kdpm2|k?dpm2)(discrete)?/, "a method of second order with two calls a step", "dpmpp-2m"],
  [/^k?lms/, "LMS", "dpmpp-2m"],
  [/^k?dpmpp2sa/, "DPM++ 2S a", "euler-ancestral"],
  [/^k?dpmpp3msde/, "DPM++ 3M SDE", "dpmpp-2m-sde"],
  [/^(k?dpmppsde|dpmsolversde)/, "DPM++ SDE", "dpmpp-2m-sde"],
  [/^(k?dpm(fast|adaptive)|dpmsolversinglestep)/, "the single-step DPM-Solver", "dpmpp-2m"],
  [/^deis/, "DEIS", "dpmpp-2m"],
  [/^i?pndm/, "IPNDM", "pndm"],
  [/^(ddpm)/, "DDPM", "ddim"],
  [/^tcd/, "TCD", "lcm"],
  [/cfgpp$/, "CFG++", "ddim"],
  [/^restart/, "Restart", "euler"],
  [/^(edm|flow|sa_?solver|ersde|resmultistep|seeds)/, "a sampler of other models", "dpmpp-2m"],
];

/** Known schedules that are not supported. */
const ABSENT_SCHEDULES: readonly RegExp[] = [
  ...[/^polyexponential$/, /^kloptimal$/, /^alignyoursteps/, /^ays/, /^turbo$/, /^linearquadratic$/],
  ...[/^laplace$/, /^beta57$/, /^bongtangent$/, /^gits/],
];

/** Samplers that can visit levels of their own; the others visit timesteps. */
const BY_LEVELS: readonly SamplerName[] = ["euler", "dpmpp-2m", "dpmpp-2m-sde"];

/** The samplers that are here. */
export const SAMPLER_LIST = Object.keys(SAMPLER_ALIASES) as readonly SamplerName[];

/** A sampler, and the schedule that is meant with it, where one is. */
export interface SamplerChoice {
  sampler?: SamplerName;
  schedule?: ScheduleName;
}

/**
 * The sampler and schedule that names stand for: `DPM++ 2M Karras`, `Euler a`, `dpmpp_2m` with `karras`,
 * `DPMSolverMultistepScheduler`; in any case of letters, with any spaces, hyphens and underscores.
 *
 * Throws a UserError (`USAGE`) for a name that is not known, that names something which is not here, for two schedules that differ, and for
 * a schedule that the sampler cannot follow. own: the sampler where none is named.
 */
export function chooseSampler(
  { sampler: named, schedule: asked }: { sampler?: string; schedule?: string },
  own?: SamplerName,
): SamplerChoice {
  const found = named === undefined ? {} : samplerNamed(named);
  const schedule = asked === undefined ? undefined : scheduleNamed(asked);
  if (found.schedule !== undefined && schedule !== undefined && found.schedule !== schedule)
    throw new UserError(
      `--sampler "${named}" says ${WEBUI_SCHEDULES[found.schedule]}, and --schedule "${asked}" another.`,
      { code: "USAGE", hint: "Leave one of them out." },
    );
  const chosen = { sampler: found.sampler, schedule: schedule ?? found.schedule };
  if (chosen.schedule !== undefined) requireSchedule(chosen.sampler ?? own, chosen.schedule);
  return chosen;
}

/** Throws a UserError (`USAGE`) where a sampler cannot follow a schedule. undefined: the checkpoint's own, which is not known yet. */
export function requireSchedule(sampler: SamplerName | undefined, schedule: ScheduleName): void {
  if (sampler === undefined) return;
  const byLevels = !("timestep_spacing" in SCHEDULES[schedule]) || /exponential|beta/.test(schedule);
  const follows =
    schedule === "lu"
      ? sampler.startsWith("dpmpp")
      : byLevels
        ? BY_LEVELS.includes(sampler)
        : sampler !== "lcm";
  if (follows) return;
  const others = schedule === "lu" ? BY_LEVELS.slice(1) : byLevels ? BY_LEVELS : ["any but lcm"];
  throw new UserError(`The sampler ${sampler} has no schedule ${schedule}, in diffusers neither.`, {
    code: "USAGE",
    hint: `${schedule} goes with ${others.join(", ")}.`,
  });
}

/** Small letters and digits alone; `++` is `pp`. */
const squeezed = (name: string): string =>
  name
    .toLowerCase()
    .replaceAll("++", "pp")
    .replace(/[^a-z0-9]+/g, "");

const samplerKeys = new Map<string, SamplerName>(
  Object.entries(SAMPLER_ALIASES).flatMap(([name, aliases]) => {
    const sampler = name as SamplerName;
    return [name, WEBUI_SAMPLERS[sampler], ...aliases].map((each) => [squeezed(each), sampler] as const);
  }),
);

const scheduleKeys = new Map<string, ScheduleName>(
  Object.entries(SCHEDULE_ALIASES).flatMap(([name, aliases]) =>
    [name, ...aliases].map((each) => [squeezed(each), name as ScheduleName] as const),
  ),
);

function samplerNamed(name: string): SamplerChoice {
  const key = squeezed(name);
  const whole = samplerKeys.get(key);
  if (whole) return { sampler: whole };
  for (const [ending, schedule] of scheduleKeys) {
    if (!key.endsWith(ending)) continue;
    const sampler = samplerKeys.get(key.slice(0, -ending.length));
    if (sampler) return { sampler, schedule };
  }
  for (const ending of ["polyexponential", "kloptimal", "alignyoursteps", "turbo"])
    if (key.endsWith(ending) && samplerKeys.has(key.slice(0, -ending.length))) throw noSchedule(name);
  const absent = ABSENT.find(([pattern]) => pattern.test(key));
  if (absent) {
    const [, what, nearest] = absent;
    throw new UserError(`The sampler "${name}" (${what}) is not here.`, {
      code: "USAGE",
      hint: `The nearest is ${nearest}${what === "DDPM" ? " with --eta 1" : ""}. There are ${samplerList()}.`,
    });
  }
  throw new UserError(`"${name}" is no sampler that is known here.`, {
    code: "USAGE",
    hint: `There are ${samplerList()}; also by the names of the web UI, of ComfyUI and of diffusers.`,
  });
}

function scheduleNamed(name: string): ScheduleName | undefined {
  const key = squeezed(name);
  if (key === "automatic" || key === "default") return undefined;
  const found = scheduleKeys.get(key);
  if (found) return found;
  if (ABSENT_SCHEDULES.some((pattern) => pattern.test(key))) throw noSchedule(name);
  throw new UserError(`"${name}" is no schedule that is known here.`, {
    code: "USAGE",
    hint: `There are ${Object.keys(SCHEDULES).join(", ")}.`,
  });
}

const noSchedule = (name: string): UserError =>
  new UserError(`The schedule of "${name}" is not here.`, {
    code: "USAGE",
    hint: `There are ${Object.keys(SCHEDULES).join(", ")}.`,
  });

const samplerList = (): string => SAMPLER_LIST.join(", ");
