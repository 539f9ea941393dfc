// Compares base, Diffusion-DPO and ways of SPO on the same model, data, prompts and machine, for the same time: search, train, measure.
import { join } from "node:path";
import { readPrompts } from "@spo/data";
import { readRun } from "@spo/records";
import { checkConfig, withoutPlaces } from "@spo/records/config";
import { UserError } from "@spo/torch/files";
import type { RecipeContext } from "../recipes/recipe.js";
import { TrainDpoConfig } from "../recipes/train-dpo/train-dpo-config.js";
import { TrainSpmConfig } from "../recipes/train-spm/train-spm-config.js";
import { TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { type CompareConfig, type Method, mergedSettings, methodsOf } from "./compare-config.js";
import {
  bestOf,
  bestTrial,
  type FinalRun,
  type Findings,
  type MethodOutcome,
  quality,
  type Trial,
  type Validated,
} from "./comparison.js";
import { EventQueue } from "./event-queue.js";
import { flopsOfPasses } from "./flops.js";
import { JobPool } from "./job-pool.js";
import { type Evaluated, type Evaluation, type Job, readEvaluated } from "./jobs.js";
import { ComparisonProgress } from "./progress.js";
import { type PolicyShape, readSnapshot, type Snapshot } from "./snapshot.js";
import { type Spent, SpentMeter } from "./spent.js";

/** What `compareMethods` yields on its way. */
export type ComparisonEvent =
  /** Seconds of training that are done, and images as such. */
  | { type: "progress"; job: string; done: number; total: number; detail?: string }
  /** Of a training. */
  | { type: "warn"; job: string; message: string }
  /** What the validator says of a checkpoint, or of the base. */
  | { type: "validated"; name: string; step: number; spent: Spent; quality: number }
  | { type: "chosen"; method: string; settings: Record<string, unknown>; trials: number }
  | { type: "done"; findings: Findings; pictures: Pictures };

/** Encoded images of the same noise, by model: `base`, and of each method those of the first seed. */
export type Pictures = Readonly<Record<string, Evaluated["pictures"]>>;

/** Pictures of each prompt in the report. */
const SHOWN = 2;

/** More steps than a training ever makes: its time ends it. */
const ENDLESS = 1_000_000;

/** A guess, used only for the progress bar. */
const SECONDS_PER_IMAGE = 0.1;

/** A method's recipe under some settings. */
type Recipe = { train: "dpo"; config: TrainDpoConfig } | { train: "spo"; config: TrainSpoConfig };

type Purpose = "validation" | "curve" | "report";

/**
 * Each job is a process of its own and leaves its result in the run's folder, so that a comparison that was stopped or killed goes on where
 * it was. A training ends when its time is spent; parts of it follow on each other bit for bit.
 */
export async function* compareMethods(
  config: CompareConfig,
  { run, signal }: Pick<RecipeContext, "run" | "signal">,
): AsyncGenerator<ComparisonEvent> {
  const at = (...path: string[]): string => join(run.folder, ...path);
  const prompts = { train: readPrompts(config.prompts), heldOut: readPrompts(config.heldOut) };
  const choices = [...new Set([...prompts.train, ...prompts.heldOut])];
  const methods = methodsOf(config);
  /** By folder: methods may share one. */
  const spmConfigs = new Map<string, TrainSpmConfig>();
  for (const { preference } of methods)
    if (preference) spmConfigs.set(preference.folder, spmConfigOf(preference));
  // An error in any trial's settings is found before the first minute is spent.
  for (const method of methods) for (const settings of method.search) recipeOf(method, settings, 0, "");

  const events = new EventQueue<ComparisonEvent>();
  const pool = new JobPool({ size: config.jobs, threads: config.threads, signal });
  const progress = new ComparisonProgress(plannedWeight());
  const found = compare();
  found.then(
    () => events.end(),
    () => events.end(),
  );
  try {
    yield* events;
    yield { type: "done", ...(await found) };
  } finally {
    await pool.close();
  }

  async function compare(): Promise<{ findings: Findings; pictures: Pictures }> {
    const base: PolicyShape = {
      model: config.model,
      adapter: "full",
      rank: 1,
      alpha: null,
      targets: null,
      textEncoders: false,
    };
    const preferences = new Map(
      [...spmConfigs].map(([folder, spmConfig]) => [folder, preferenceModel(folder, spmConfig)]),
    );
    const [validation, curve, report, ...outcomes] = await Promise.all([
      evaluated("base", "validation", base),
      evaluated("base", "curve", base),
      evaluated("base", "report", base),
      ...methods.map(async (method) => {
        const { preference } = method;
        const spent = await (preference && preferences.get(preference.folder));
        return outcomeOf(method, spent);
      }),
    ]);
    const named = <T>(of: (outcome: (typeof outcomes)[number]) => T): Record<string, T> =>
      Object.fromEntries(methods.map(({ name }, i) => [name, of(outcomes[i] as (typeof outcomes)[number])]));
    return {
      findings: {
        base: { validation: quality(validation.images), curve: curve.images, report: report.images },
        methods: named(({ outcome }) => outcome),
      },
      pictures: { base: report.pictures, ...named(({ pictures }) => pictures) },
    };
  }

  async function preferenceModel(name: string, spmConfig: TrainSpmConfig): Promise<Spent> {
    const folder = at(name);
    await work(`preference model ${name}`, config.seconds / 3, isFinished(folder), {
      kind: "spm",
      folder,
      config: spmConfig,
    });
    return new SpentMeter(readRun(folder).events).spent;
  }

  function spmConfigOf({ folder, settings }: NonNullable<Method["preference"]>): TrainSpmConfig {
    return checkConfig(TrainSpmConfig, {
      model: config.model,
      pairs: config.pairs,
      output: at(folder, "model"),
      device: config.device,
      ...settings,
    });
  }

  /** Seconds that a method has for itself. */
  function remaining({ title }: Method, spent: number): number {
    if (spent < config.seconds) return config.seconds - spent;
    throw new UserError(
      `The preference model took ${spent.toFixed(0)} s of the ${config.seconds} s that ${title} has: nothing is left for ${title} itself.`,
      { code: "CONFIG", hint: "Give more seconds, or the preference model fewer steps." },
    );
  }

  /** Search, then the final runs. preference: what its preference model has spent of its seconds. */
  async function outcomeOf(
    method: Method,
    preference: Spent | undefined,
  ): Promise<{ outcome: MethodOutcome; pictures: Evaluated["pictures"] }> {
    const { name: key, title, search } = method;
    const time = preference ? remaining(method, preference[config.clock]) : config.seconds;
    const trials = await Promise.all(
      search.map(async (settings, i): Promise<Trial> => {
        const { seconds: share, checkpoints, seeds } = config.search;
        const runs = seeds.map((seed) => {
          const name = `${key}-trial-${i}-seed-${seed}`;
          return trainAndValidate(name, recipeOf(method, settings, seed, name), share, checkpoints);
        });
        return { settings, runs: await Promise.all(runs) };
      }),
    );
    const chosen = bestTrial(trials);
    const settings = (trials[chosen] as Trial).settings;
    events.push({ type: "chosen", method: key, settings, trials: trials.length });
    const runs = await Promise.all(config.seeds.map((seed) => finalRun(method, settings, seed, time)));
    const recipe = recipeOf(method, settings, config.seeds[0] as number, "");
    return {
      outcome: {
        title,
        preference: preference && { spent: preference, settings: method.preference?.settings ?? {} },
        trials,
        chosen,
        settings: settingsOf(recipe),
        runs: runs.map(({ final }) => final),
        flops: flopsOfPasses(shapeOf(recipe), judgeOf(method, recipe)),
      },
      pictures: runs[0]?.pictures ?? [],
    };
  }

  async function finalRun(
    method: Method,
    settings: Record<string, unknown>,
    seed: number,
    seconds: number,
  ): Promise<{ final: FinalRun; pictures: Evaluated["pictures"] }> {
    const name = `${method.name}-seed-${seed}`;
    const recipe = recipeOf(method, settings, seed, name);
    const curves: Promise<Evaluated>[] = [];
    const validated = await trainAndValidate(name, recipe, seconds, config.checkpoints, (place) => {
      curves.push(handled(evaluated(name, "curve", shapeOf(recipe), place)));
    });
    const chosen = bestOf(validated);
    const report = await evaluated(name, "report", shapeOf(recipe), chosen);
    const checkpoints = await Promise.all(
      validated.map(async (checkpoint, i) => ({
        ...checkpoint,
        curve: (await (curves[i] as Promise<Evaluated>)).images,
      })),
    );
    return { final: { seed, checkpoints, chosen, report: report.images }, pictures: report.pictures };
  }

  /** Checkpoints evenly in time; each is judged while the training goes on. */
  async function trainAndValidate(
    name: string,
    recipe: Recipe,
    seconds: number,
    count: number,
    onCheckpoint: (place: number) => void = () => {},
  ): Promise<Validated[]> {
    const validated: Promise<Validated>[] = [];
    for (let place = 0; place < count; place++) {
      const snapshot = snapshotAt(name, place);
      await work(`${name}, part ${place + 1}`, seconds / count, readSnapshot(snapshot) !== undefined, {
        kind: "policy",
        folder: at(name),
        snapshot,
        seconds: (seconds * (place + 1)) / count,
        clock: config.clock,
        ...recipe,
      });
      validated.push(handled(validate(name, recipe, place)));
      onCheckpoint(place);
    }
    return Promise.all(validated);
  }

  async function validate(name: string, recipe: Recipe, place: number): Promise<Validated> {
    const { images } = await evaluated(name, "validation", shapeOf(recipe), place);
    const snapshot = readSnapshot(snapshotAt(name, place)) as Snapshot;
    const validation = quality(images);
    events.push({ type: "validated", name, ...snapshot, quality: validation });
    return { ...snapshot, validation };
  }

  /** Images of a checkpoint, or of the base, and a judge's scores of them. */
  async function evaluated(
    name: string,
    purpose: Purpose,
    policy: PolicyShape,
    place?: number,
  ): Promise<Evaluated> {
    const isValidation = purpose === "validation";
    const sampled = { prompts: isValidation ? prompts.train : prompts.heldOut, ...config[purpose] };
    const job: Evaluation = {
      kind: "evaluation",
      file: at(
        "evaluations",
        `${[name, place].filter((part) => part !== undefined).join("-")}-${purpose}.json`,
      ),
      policy,
      // Folders from before there was a choice are the CPU's.
      device: config.device === "cpu" ? undefined : config.device,
      snapshot: place === undefined ? undefined : snapshotAt(name, place),
      judge: isValidation ? config.validator : config.judge,
      choices,
      sampled,
      sampling: config.sampling,
      ...(purpose === "report" ? { shown: SHOWN, measured: true } : { shown: 0 }),
    };
    const which = place === undefined ? purpose : `${purpose} ${place + 1}`;
    await work(`${name}, ${which}`, weightOf(purpose), readEvaluated(job) !== undefined, job);
    return readEvaluated(job) as Evaluated;
  }

  /** Runs a job in a process of its own, unless it is done. */
  async function work(name: string, weight: number, isDone: boolean, job: Job): Promise<void> {
    const tell = (detail?: string): void =>
      events.push({
        type: "progress",
        job: name,
        done: progress.done,
        total: progress.total,
        detail,
      });
    if (!isDone) {
      await pool.run(job, (state) => {
        if (state.warning !== undefined) events.push({ type: "warn", job: name, message: state.warning });
        else {
          progress.report(name, weight, state);
          tell(state.detail);
        }
      });
    }
    progress.finish(name, weight);
    tell();
  }

  function recipeOf(method: Method, settings: Record<string, unknown>, seed: number, name: string): Recipe {
    const common = {
      model: config.model,
      output: at(name, "model"),
      saveEvery: ENDLESS,
      device: config.device,
    };
    const own = mergedSettings(method.settings, settings);
    return method.train === "dpo"
      ? {
          train: "dpo",
          config: checkConfig(TrainDpoConfig, {
            ...common,
            steps: ENDLESS,
            pairs: config.pairs,
            ...own,
            seed,
          }),
        }
      : {
          train: "spo",
          config: checkConfig(TrainSpoConfig, {
            ...common,
            rounds: ENDLESS,
            stripEvery: ENDLESS,
            samples: 0,
            spm: spmConfigs.get(method.preference?.folder ?? "")?.output,
            prompts: config.prompts,
            ...own,
            seed,
          }),
        };
  }

  /** Folder of a preference model of the sizes of the one that judges; null: there is none. */
  function judgeOf(method: Method, recipe: Recipe): string | null {
    const trained = spmConfigs.get(method.preference?.folder ?? "spm")?.init ?? null;
    return recipe.train === "spo" && !method.preference ? recipe.config.spm : trained;
  }

  function snapshotAt(name: string, place: number): string {
    return at(name, "snapshots", String(place));
  }

  /** Seconds that a purpose's images may take. */
  function weightOf(purpose: Purpose): number {
    const { seeds, perPrompt } = config[purpose];
    const count = (purpose === "validation" ? prompts.train : prompts.heldOut).length;
    return count * seeds.length * perPrompt * SECONDS_PER_IMAGE;
  }

  function plannedWeight(): number {
    const [validation, curve, report] = (["validation", "curve", "report"] as const).map(weightOf) as [
      number,
      number,
      number,
    ];
    const { search, seeds, checkpoints, seconds } = config;
    const trial = search.seconds + search.checkpoints * validation;
    const evaluations = checkpoints * (validation + curve) + report;
    const spm = seconds / 3;
    return (
      spmConfigs.size * spm +
      validation +
      curve +
      report +
      methods.reduce(
        (sum, method) =>
          sum +
          method.search.length * search.seeds.length * trial +
          seeds.length * (seconds - (method.preference ? spm : 0) + evaluations),
        0,
      )
    );
  }
}

/** Marks a promise that is awaited later as handled, so that its rejection does not end the process until then. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

const shapeOf = ({
  config: { model, adapter, rank, alpha, targets, textEncoders },
}: Recipe): PolicyShape => ({
  ...{ model, adapter, rank, alpha, targets, textEncoders },
});

const isFinished = (folder: string): boolean => {
  try {
    return readRun(folder).result !== undefined;
  } catch {
    return false; // not begun
  }
};

/** The settings of a training, without folders and without its number of steps. */
function settingsOf({ train, config }: Recipe): object {
  const settings = withoutPlaces(train === "spo" ? TrainSpoConfig : TrainDpoConfig, config, ["scorer"]);
  return Object.fromEntries(
    Object.entries(settings).filter(([key, value]) => key !== "seed" && value !== ENDLESS),
  );
}
