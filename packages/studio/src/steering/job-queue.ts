// Trainings that were started from the page: one a device, the others wait. All of it lies in a folder, so that it survives a restart.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, existsSync, openSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  type Lock,
  LockTaken,
  makeFolder,
  readRecord,
  runWriter,
  takeLock,
  UserError,
  writeFileAtomic,
} from "@spo/records";
import { z } from "zod";
import { lastLines } from "../runs/last-lines.js";

/** Its name starts with a dot, so no run is looked for in it. */
const QUEUE = ".queue";
const ORDER = "order.json";
/** A process that was started has its run by then, or is none of ours. */
const START_MS = 120_000;
const LOOK_MS = 1000;
const MOST_JOBS = 1000;

/** A name of a run below the folder that is shown: no dots at a start, nothing that a shell or a path takes otherwise. */
const RunName = z
  .string()
  .max(200)
  .regex(
    /^[A-Za-z0-9_][\w.-]*(\/[A-Za-z0-9_][\w.-]*){0,3}$/,
    "a run's name has letters, digits, - . _ and / alone",
  );

/** What is to be done. */
export const JobWish = z.strictObject({
  /** As `train spo`. */
  kind: z.string().regex(/^train [a-z]+$/),
  preset: z
    .string()
    .regex(/^[\w-]+$/)
    .optional(),
  /** What differs from the preset and the defaults: the content of the file that the command reads. */
  config: z.record(z.string(), z.unknown()),
  run: RunName,
});
export type JobWish = z.output<typeof JobWish>;

const JobRecord = z.object({
  kind: z.union([JobWish.shape.kind, z.literal("convert")]),
  /** Below the folder that is shown; of a conversion, the file that it writes. */
  run: z.string(),
  /** Between the kind and `--run` or `--output`, as the command is told. */
  words: z.array(z.string()),
  device: z.string(),
  /** Of a training on votes: how many there were. */
  votes: z.int().optional(),
  id: z.string().regex(/^[\w-]+$/),
  added: z.string(),
  /** When a process was started for it, and its number. */
  started: z.string().optional(),
  pid: z.int().positive().optional(),
  /** When it was seen to have ended, and how, where that is known. */
  ended: z.string().optional(),
  code: z.int().nullable().optional(),
  cancelled: z.literal(true).optional(),
});
type JobRecord = z.output<typeof JobRecord>;

/** A job in the command's own words. */
export type JobWords = Pick<JobRecord, "kind" | "run" | "words" | "device" | "votes">;

/** Jobs that wait, by ID, in the order in which they start; those that it does not name come after them. */
const Order = z.array(z.string());

/** A job as the page shows it. */
export interface Job extends JobRecord {
  state: "waiting" | "running" | "ended" | "failed" | "cancelled";
  /** The command line, as a person would type it. */
  command: string;
  /** The last lines that it said. */
  said: string[];
  /** Whether it stopped before its training's end, and nobody has started that again. */
  canGoOn: boolean;
}

/** The queue of one folder of runs. One server at a time works it off. */
export class JobQueue {
  readonly #root: string;
  readonly #folder: string;
  readonly #command: readonly [string, ...string[]];
  readonly #lock: Lock;
  readonly #jobs = new Map<string, JobRecord>();
  #order: readonly string[];
  /** Started by this server, and not ended yet. */
  readonly #children = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #isClosed = false;

  /**
   * root: the folder of the runs. command: the program and its first words; `train spo …` is added.
   *
   * Throws a UserError (`RESOURCE`) where another server works off the queue of this folder.
   */
  constructor(root: string, command: readonly [string, ...string[]]) {
    this.#root = root;
    this.#folder = join(root, QUEUE);
    this.#command = command;
    makeFolder(this.#folder);
    this.#lock = lockOf(this.#folder);
    for (const name of readdirSync(this.#folder).filter((name) => name.endsWith(".job.json"))) {
      const job = readRecord(join(this.#folder, name), JobRecord);
      this.#jobs.set(job.id, job);
    }
    const order = join(this.#folder, ORDER);
    this.#order = existsSync(order) ? readRecord(order, Order) : [];
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
    this.look();
  }

  /** Those that were started, the oldest first, then those that wait, in the order in which they start. */
  list(): Job[] {
    const jobs = [...this.#jobs.values()].sort((a, b) => (a.added < b.added ? -1 : 1));
    const shown = jobs.map((job) => this.#shown(job));
    const waiting = shown.filter(({ state }) => state === "waiting");
    const placeOf = ({ id }: Job): number => {
      const place = this.#order.indexOf(id);
      return place < 0 ? this.#order.length : place;
    };
    return [
      ...shown.filter(({ state }) => state !== "waiting"),
      ...waiting.sort((a, b) => placeOf(a) - placeOf(b)),
    ];
  }

  /** Puts a job of the form at the end. Throws a UserError where its run is there already, another job has it, or there are too many. */
  add({ kind, preset, config, run }: JobWish): Job {
    const id = newId();
    const words = [...(preset === undefined ? [] : [preset]), this.#configOf(id)];
    const device = typeof config.device === "string" ? config.device : "cpu";
    return this.#add({ kind, run, words, device }, id, () =>
      writeFileAtomic(this.#configOf(id), `${JSON.stringify(config, null, 2)}\n`),
    );
  }

  /** Puts a job in the command's own words at the end. Throws as `add`. */
  addWords(words: JobWords): Job {
    return this.#add(words, newId());
  }

  /** Puts the command of a job that stopped before its training's end at the end. Throws a UserError (`USAGE`) for any other. */
  goOn(id: string): Job {
    const job = this.#jobs.get(id);
    if (!job || !this.#canGoOn(job))
      throw new UserError("This training cannot go on.", {
        code: "USAGE",
        hint: "Only one that stopped before its end can, and that nobody has started again.",
      });
    const { kind, run, words, device, votes } = job;
    return this.#put({ kind, run, words, device, votes }, newId());
  }

  /** Puts a command that goes on with a run at the end. Throws a UserError (`USAGE`) where the run is at work, or a job has it. */
  goOnWith(words: JobWords): Job {
    if (!this.#isFree(words.run))
      throw new UserError("This training cannot go on now.", {
        code: "USAGE",
        hint: "It is at work, or waits in the queue.",
      });
    return this.#put(words, newId());
  }

  /** Whether a name below the folder is that of a run, or of a job that has none yet. */
  has(run: string): boolean {
    return existsSync(join(this.#root, run)) || this.#open().some((job) => job.run === run);
  }

  /**
   * Lets a job that waits start as the number `to` of those that wait, from 0; beyond the last one, as the last. The order is kept.
   *
   * Throws a UserError (`USAGE`) for a job that does not wait.
   */
  move(id: string, to: number): void {
    this.#requireWaiting(id);
    const waiting = this.list().flatMap((job) => (job.state === "waiting" && job.id !== id ? [job.id] : []));
    const order = waiting.toSpliced(to, 0, id);
    writeFileAtomic(join(this.#folder, ORDER), `${JSON.stringify(order)}\n`);
    this.#order = order;
  }

  /** Takes a job that waits out of the queue. Throws a UserError (`USAGE`) for any other. */
  cancel(id: string): void {
    this.#keep({ ...this.#requireWaiting(id), cancelled: true });
  }

  /** Notes what has ended, and starts on each free device the job that waits longest. */
  look(): void {
    for (const job of this.#jobs.values())
      if (job.started && !job.ended && this.#stateOf(job) !== "running")
        this.#keep({ ...job, ended: new Date().toISOString() });
    const busy = new Set(
      [...this.#jobs.values()].filter((job) => this.#stateOf(job) === "running").map(({ device }) => device),
    );
    for (const { id } of this.list()) {
      const job = this.#jobs.get(id) as JobRecord;
      if (this.#stateOf(job) !== "waiting" || busy.has(job.device)) continue;
      busy.add(job.device);
      this.#start(job);
    }
  }

  /** Lets another server work it off. Trainings at work go on. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#lock.release();
  }

  #open(): JobRecord[] {
    return [...this.#jobs.values()].filter(({ ended, cancelled }) => !ended && !cancelled);
  }

  #add(words: JobWords, id: string, prepare?: () => void): Job {
    if (this.has(words.run))
      throw new UserError(`There is a run ${words.run} already.`, {
        code: "USAGE",
        hint: "Give another name, or remove that one first.",
      });
    return this.#put(words, id, prepare);
  }

  #put(words: JobWords, id: string, prepare = () => {}): Job {
    if (this.#open().length >= MOST_JOBS) throw new UserError("The queue is full.", { code: "RESOURCE" });
    prepare();
    const job: JobRecord = { ...words, id, added: new Date().toISOString() };
    this.#keep(job);
    this.look();
    return this.#shown(this.#jobs.get(id) as JobRecord);
  }

  #requireWaiting(id: string): JobRecord {
    const job = this.#jobs.get(id);
    if (job && this.#stateOf(job) === "waiting") return job;
    throw new UserError("This job does not wait any more.", {
      code: "USAGE",
      hint: "Stop its run on the run's own page.",
    });
  }

  #start(job: JobRecord): void {
    const [program, ...words] = this.#command;
    const log = openSync(this.#logOf(job.id), "a");
    // Detached: it outlives this server, whose restart finds it again.
    const child = spawn(program, [...words, ...this.#words(job)], {
      detached: true,
      stdio: ["ignore", "ignore", log],
    });
    closeSync(log);
    this.#children.add(job.id);
    const end = (code: number | null): void => {
      this.#children.delete(job.id);
      if (this.#isClosed) return; // another server may have the queue: the next job is its to start
      const known = this.#jobs.get(job.id) as JobRecord;
      this.#keep({ ...known, ended: new Date().toISOString(), code });
      this.look();
    };
    child.on("error", () => end(null));
    child.on("exit", (code) => end(code));
    child.unref();
    this.#keep({ ...job, started: new Date().toISOString(), pid: child.pid });
  }

  #words({ kind, words, run }: JobRecord): string[] {
    return [...kind.split(" "), ...words, kind === "convert" ? "--output" : "--run", join(this.#root, run)];
  }

  #stateOf(job: JobRecord): Job["state"] {
    if (job.cancelled) return "cancelled";
    if (job.ended) return job.code === undefined || job.code === 0 || job.code === 143 ? "ended" : "failed";
    if (!job.started) return "waiting";
    if (this.#children.has(job.id) || typeof runWriter(join(this.#root, job.run)) === "object")
      return "running";
    // Of a server before: its process may not have made the run yet.
    const isNew = Date.now() - Date.parse(job.started) < START_MS;
    return isNew && job.pid !== undefined && isAlive(job.pid) ? "running" : "ended";
  }

  #canGoOn(job: JobRecord): boolean {
    if (job.kind === "convert" || !["ended", "failed"].includes(this.#stateOf(job))) return false;
    if (!this.#isFree(job.run)) return false;
    const folder = join(this.#root, job.run);
    // Several trainings in one folder have no log of their own there: the command's end tells.
    const [newest] = lastLines(join(folder, "events.jsonl"), 1);
    return newest === undefined ? job.code !== 0 : !newest.startsWith('{"type":"done"');
  }

  #isFree(name: string): boolean {
    const isAtWork = typeof runWriter(join(this.#root, name)) === "object";
    return !isAtWork && !this.#open().some(({ run }) => run === name);
  }

  #shown(job: JobRecord): Job {
    return {
      ...job,
      state: this.#stateOf(job),
      command: ["npx", "spo", ...this.#words(job)].map(quoted).join(" "),
      said: lastLines(this.#logOf(job.id), 5),
      canGoOn: this.#canGoOn(job),
    };
  }

  #keep(job: JobRecord): void {
    writeFileAtomic(join(this.#folder, `${job.id}.job.json`), `${JSON.stringify(job, null, 2)}\n`);
    this.#jobs.set(job.id, job);
    const over = [...this.#jobs.values()]
      .filter(({ ended, cancelled }) => ended || cancelled)
      .slice(0, -MOST_JOBS);
    for (const { id } of over) {
      this.#jobs.delete(id);
      for (const path of [join(this.#folder, `${id}.job.json`), this.#configOf(id), this.#logOf(id)])
        rmSync(path, { force: true });
    }
  }

  #configOf(id: string): string {
    return join(this.#folder, `${id}.json`);
  }

  #logOf(id: string): string {
    return join(this.#folder, `${id}.log`);
  }
}

const newId = (): string => `${Date.now()}-${randomBytes(4).toString("hex")}`;

function lockOf(folder: string): Lock {
  try {
    return takeLock(join(folder, "server.json"));
  } catch (error) {
    if (!(error instanceof LockTaken)) throw error;
    throw new UserError("Another Studio starts the trainings of this folder.", {
      code: "RESOURCE",
      hint: "Use that one, or leave --allow-start, --train and --demo away here.",
      cause: error,
    });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const quoted = (word: string): string =>
  /^[\w./@:=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
