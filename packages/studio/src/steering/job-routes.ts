// Starting trainings from the page, where the server was started with that allowed.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { listCheckpoints, UserError, writeFileAtomic } from "@spo/records";
import { Hono } from "hono";
import { z } from "zod";
import type { Forecast, FormSetting, GoingOn, JobForm, JobList, RunSummary } from "../api.js";
import type { FoundRun } from "../runs/find-runs.js";
import { type ExportWish, exportsOf, exportWords } from "./exports.js";
import { type Job, JobQueue, JobWish } from "./job-queue.js";
import { bodyOf } from "./steering-routes.js";
import { VotesTrainings } from "./votes-trainings.js";

/** What may be started, and how. */
export interface JobsAllowed {
  /** The program and its first words, to which `train spo …` is added. */
  command: readonly [string, ...string[]];
  /** By kind, as `train spo`: its settings, and its presets by name. */
  kinds: Readonly<
    Record<
      string,
      {
        settings: readonly FormSetting[];
        presets: Readonly<Record<string, object>>;
        /** The setting of a training's length, where one that has ended can be made longer. */
        length?: string;
      }
    >
  >;
  /** Lets the page train on votes: the options of `train votes` but `--run` and `--from`. */
  votes?: readonly string[];
}

/** A forecast reads configs alone. */
const FORECAST_MS = 60_000;
const MOST_WORDS = 20_000;

/** to: the place among those that wait, from 0. */
const Move = z.strictObject({ to: z.int().min(0) });

/** to: the new length of a training that has ended. */
export const GoOnWish = z.strictObject({ to: z.int().positive().optional() });

/** Routes below `/api/jobs`. */
export class Jobs {
  readonly routes = new Hono();
  readonly #root: string;
  readonly #queue?: JobQueue;
  readonly #kinds: JobsAllowed["kinds"];
  /** Where the page may train on votes. */
  readonly votes?: VotesTrainings;

  /** root: the folder of the runs. Throws as `JobQueue`. */
  constructor(root: string, allowed: JobsAllowed | undefined) {
    this.#root = root;
    this.#kinds = allowed?.kinds ?? {};
    this.#queue = allowed && new JobQueue(root, allowed.command);
    if (this.#queue && allowed?.votes) this.votes = new VotesTrainings(root, this.#queue, allowed.votes);
    this.routes.get("/", (c) => {
      const answer: JobList = {
        schema: "spo.studio.jobs/1",
        kinds: Object.keys(this.#kinds),
        jobs: this.#queue?.list() ?? [],
      };
      return c.json(answer);
    });
    if (!allowed || !this.#queue) {
      this.routes.all("*", () => {
        throw startsNothing();
      });
      return;
    }
    const queue = this.#queue;
    this.routes.get("/form/:kind", (c) => {
      const kind = c.req.param("kind").replace("-", " ");
      const form = Object.hasOwn(allowed.kinds, kind) ? allowed.kinds[kind] : undefined;
      if (!form) throw new UserError("There is no such kind of training.", { code: "DATA" });
      const { settings, presets } = form;
      const answer: JobForm = { schema: "spo.studio.form/1", kind, settings, presets };
      return c.json(answer);
    });
    const wishOf = async (c: Parameters<typeof bodyOf>[0]): Promise<JobWish> => {
      const wish = await bodyOf(c, JobWish);
      const form = Object.hasOwn(allowed.kinds, wish.kind) ? allowed.kinds[wish.kind] : undefined;
      if (!form || (wish.preset !== undefined && !Object.hasOwn(form.presets, wish.preset)))
        throw new UserError("There is no such kind of training or preset.", { code: "USAGE" });
      return wish;
    };
    this.routes.post("/", async (c) => {
      const wish = await wishOf(c);
      const words = [...wish.kind.split(" "), ...presetOf(wish)];
      const { code, stderr } = await asked(allowed.command, words, wish, [
        "--dry-run",
        "--json",
        "--run",
        "run",
      ]);
      if (code !== 0)
        throw new UserError(stderr || "The settings are not those of the command.", { code: "CONFIG" });
      return c.json(queue.add(wish));
    });
    this.routes.post("/forecast", async (c) => {
      const wish = await wishOf(c);
      const words = ["plan", wish.kind.replace("train ", ""), ...presetOf(wish)];
      const { code, stdout, stderr } = await asked(allowed.command, words, wish, []);
      const answer: Forecast = {
        schema: "spo.studio.forecast/1",
        isPlan: code === 0,
        words: code === 0 ? stdout : stderr,
      };
      return c.json(answer);
    });
    this.routes.post("/:id/move", async (c) => {
      const { to } = await bodyOf(c, Move);
      queue.move(c.req.param("id"), to);
      return c.json({ moved: c.req.param("id"), to });
    });
    this.routes.post("/:id/go-on", (c) => c.json(queue.goOn(c.req.param("id"))));
    this.routes.post("/:id/cancel", (c) => {
      queue.cancel(c.req.param("id"));
      return c.json({ cancelled: c.req.param("id") });
    });
  }

  /** The layouts in which the page may have a run's result written. */
  exportsOf(run: FoundRun): string[] {
    return this.#mayStart ? exportsOf(run) : [];
  }

  /** How the page may go on with a run, whoever began it; undefined where it may not: one that has ended cannot without a checkpoint. */
  goingOnOf({ folder }: FoundRun, { kind, state, total }: RunSummary): GoingOn | undefined {
    const form = Object.hasOwn(this.#kinds, kind) ? this.#kinds[kind] : undefined;
    if (!form || !["stopped", "killed", "finished"].includes(state)) return undefined;
    const isKept = listCheckpoints(join(folder, "checkpoints")).length > 0;
    if (state !== "finished") return isKept ? {} : { anew: true };
    return form.length === undefined || !isKept ? undefined : { length: form.length, from: total };
  }

  /**
   * Puts into the queue the command that goes on with a run by the settings that it keeps. config: those.
   *
   * Throws as `JobQueue.goOnWith`, and a UserError (`USAGE`) for a run that cannot, or a length that is not longer.
   */
  goOn(
    run: FoundRun,
    summary: RunSummary,
    config: Readonly<Record<string, unknown>>,
    { to }: z.output<typeof GoOnWish>,
  ): Job {
    if (!this.#queue || !this.#mayStart) throw startsNothing();
    const may = this.goingOnOf(run, summary);
    if (!may || (may.length === undefined) !== (to === undefined) || (to ?? 1) <= (may.from ?? 0))
      throw new UserError(`${run.name} cannot go on so.`, {
        code: "USAGE",
        hint: may?.length
          ? `It has ended: give more ${may.length} than its ${may.from}.`
          : "Only a training that stopped before its end can.",
      });
    return this.#queue.goOnWith({
      kind: summary.kind,
      run: relative(this.#root, run.folder) || ".",
      words: may.length === undefined ? [] : [`${may.length}=${to}`],
      device: typeof config.device === "string" ? config.device : "cpu",
    });
  }

  /** Puts the writing of a run's result into the queue. config: the run's. Throws as `exportWords` and `JobQueue.add`. */
  export(
    run: FoundRun,
    config: Readonly<Record<string, unknown>>,
    { layout }: z.output<typeof ExportWish>,
  ): Job {
    if (!this.#queue || !this.#mayStart) throw startsNothing();
    return this.#queue.addWords(exportWords(this.#root, run, config.model, layout));
  }

  close(): void {
    this.#queue?.close();
  }

  get #mayStart(): boolean {
    return Object.keys(this.#kinds).length > 0;
  }
}

const startsNothing = (): UserError =>
  new UserError("This Studio starts nothing.", {
    code: "USAGE",
    hint: "Start it with --allow-start: whoever has its address can then start trainings with your rights.",
  });

const presetOf = ({ preset }: JobWish): string[] => (preset === undefined ? [] : [preset]);

/** What the command says to a config, given as the file that it would read. */
function asked(
  [program, ...first]: JobsAllowed["command"],
  words: readonly string[],
  { config }: JobWish,
  options: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const folder = mkdtempSync(join(tmpdir(), "spo-form-"));
  const file = join(folder, "config.json");
  writeFileAtomic(file, JSON.stringify(config));
  return new Promise((resolve) => {
    const said = { stdout: "", stderr: "" };
    const child = spawn(program, [...first, ...words, file, ...options], {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: FORECAST_MS,
    });
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => {
        said[name] = `${said[name]}${text}`.slice(0, MOST_WORDS);
      });
    const end = (code: number | null): void => {
      rmSync(folder, { recursive: true, force: true });
      const clean = (text: string): string => text.replaceAll(`${file}: `, "").trim();
      resolve({ code, stdout: clean(said.stdout), stderr: clean(said.stderr) });
    };
    child.on("error", () => end(null));
    child.on("close", end);
  });
}
