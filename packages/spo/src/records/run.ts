import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync, truncateSync } from "node:fs";
import { join, relative, sep } from "node:path";
import {
  appendLine,
  asUserError,
  isPartOfLock,
  type Lock,
  LockTaken,
  lockOwner,
  makeFolder,
  type ProcessIdentity,
  removeLeftovers,
  syncFile,
  takeLock,
  thisProcess,
  UserError,
  writeFileAtomic,
} from "@spo/torch/files";
import {
  type Checkpoint,
  checkCheckpoint,
  checkpointName,
  listCheckpoints,
  pruneCheckpoints,
  writeCheckpoint,
} from "./checkpoints.js";
import { type Event, type EventBody, parseEvents, salvageEvents } from "./events.js";

/** This many newest checkpoints are kept: one to go on from, one for when that is damaged. */
const KEPT = 2;

/** What a recipe spends in a step. */
interface Spent {
  passes?: Record<string, number>;
  phases?: Record<string, { wall: number; cpu: number }>;
}

/**
 * A run's folder: `config.json` (resolved), `events.jsonl` (appended only), `checkpoints/`, and what the recipe puts beside them.
 *
 * Everything that shows a run reads this folder; nothing else couples them. One process at a time may write it.
 *
 * The methods that record give the recorded events, for a recipe to `yield*`.
 */
export class Run {
  readonly folder: string;
  readonly #lock: Lock | undefined;
  readonly #began = performance.now();
  readonly #cpu = process.cpuUsage();

  /** Use `Run.open`. */
  constructor(folder: string, lock?: Lock) {
    this.folder = folder;
    this.#lock = lock;
  }

  /**
   * Opens the folder of a run, making it when it is not there.
   *
   * Throws a UserError when it holds another kind of run, another config (naming the keys that differ) or other things, or is being
   * written by a living process, this one included. Where that process is out of sight, on another machine say, it takes up to a minute to
   * see that it does not live; onDoubt is told before.
   */
  static open(
    folder: string,
    {
      kind,
      config,
      engine,
      onDoubt,
    }: {
      kind: string;
      config: object;
      engine?: Record<string, string>;
      onDoubt?: (words: string) => void;
    },
  ): Run {
    const wanted = JSON.parse(JSON.stringify({ kind, ...config })) as Record<string, unknown>;
    refuseOther(folder, wanted); // before the lock, which is a change to the folder
    makeFolder(folder);
    const lock = lockFolder(folder, onDoubt);
    try {
      refuseOther(folder, wanted); // again: another process may just have made a run of it
      const run = new Run(folder, lock);
      removeLeftovers(configPath(folder));
      if (!existsSync(configPath(folder)))
        writeFileAtomic(configPath(folder), `${JSON.stringify(wanted, null, 2)}\n`);
      run.#cutHalfLine();
      if (!existsSync(run.#events)) run.record({ type: "start", kind, engine });
      return run;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Lets another process write the folder. The end of the process does so too. */
  close(): void {
    this.#lock?.release();
  }

  /**
   * Closes a run and takes it away if it has nothing but its start: one that failed there, for a mistyped path say, must not stand in the
   * way of the next try.
   */
  discardUnused(): void {
    const own = [configPath(this.folder), this.#events, lockPath(this.folder)];
    const others = readdirSync(this.folder).filter((name) => !own.includes(join(this.folder, name)));
    if (others.length === 0 && this.events().every(({ type }) => type === "start")) {
      for (const path of own.slice(0, 2)) rmSync(path, { force: true });
    }
    this.close();
    if (readdirSync(this.folder).length === 0) rmdirSync(this.folder);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #events(): string {
    return join(this.folder, "events.jsonl");
  }

  get #checkpoints(): string {
    return join(this.folder, "checkpoints");
  }

  /** Appends an event and gives it back with its time. Throws a UserError (`RESOURCE`) where another process has taken the run over. */
  record(body: EventBody): Event {
    this.#requireLock();
    const { phases, ...rest } = body;
    const { user, system } = process.cpuUsage(this.#cpu);
    const event = {
      ...rest,
      time: {
        at: new Date().toISOString(),
        wall: (performance.now() - this.#began) / 1000,
        cpu: (user + system) / 1e6,
        phases,
        rss: process.memoryUsage.rss(),
      },
    } as Event;
    appendLine(this.#events, JSON.stringify(event));
    return event;
  }

  /** Record all of a step before saving it: what comes after the save is done again when the run is resumed. */
  *step(step: number, total: number, metrics: Record<string, number>, spent: Spent = {}): Generator<Event> {
    yield this.record({ type: "step", step, total, metrics: finite(metrics), ...spent });
  }

  *eval(step: number, metrics: Record<string, number>): Generator<Event> {
    yield this.record({ type: "eval", step, metrics: finite(metrics) });
  }

  *phase(name: string, done: number, total: number): Generator<Event> {
    yield this.record({ type: "phase", name, done, total });
  }

  *warn(message: string): Generator<Event> {
    yield this.record({ type: "warn", message });
  }

  *done(result: Record<string, unknown>): Generator<Event> {
    yield this.record({ type: "done", result });
  }

  /** What the run ended with, when it has ended. */
  result(): Record<string, unknown> | undefined {
    const last = this.events().at(-1);
    return last?.type === "done" ? last.result : undefined;
  }

  events(): Event[] {
    return existsSync(this.#events) ? parseEvents(readFileSync(this.#events, "utf8"), this.#events) : [];
  }

  isDue(step: number, every: number, total: number): boolean {
    return step % every === 0 || step === total;
  }

  /** Writes a checkpoint, whole or not at all: `write` fills a folder with files that it has synced, as `writeFileAtomic` does. */
  *save(step: number, write: (folder: string) => void): Generator<Event> {
    this.#requireLock();
    syncFile(this.#events); // a checkpoint must not outlive the events that led to it
    const folder = writeCheckpoint(this.#checkpoints, step, write);
    pruneCheckpoints(this.#checkpoints, step, KEPT);
    yield this.#recordCheckpoint(step, folder);
  }

  /** A process that slept through its signs of life may have been taken for dead. */
  #requireLock(): void {
    if (this.#lock === undefined || isHeld(this.#lock)) return;
    throw new UserError(`${this.folder} is no longer this process's: ${lostTo(this.folder)}.`, {
      code: "RESOURCE",
      hint: "Nothing more is written here. The same command goes on from the last checkpoint when no other process works at it.",
    });
  }

  #recordCheckpoint(step: number, folder: string): Event {
    return this.record({
      type: "checkpoint",
      step,
      folder: relative(this.folder, folder).replaceAll(sep, "/"),
    });
  }

  /**
   * Restores the newest whole checkpoint and gives the step to go on with; 0 for a new run.
   *
   * Damaged checkpoints are passed over, with a warning. Events of steps after the checkpoint are cut off: they will be done again.
   */
  resume(restore: (folder: string) => void): number {
    this.events(); // throws where the log is damaged: a run is not gone on with on a guess
    const damaged: Checkpoint[] = [];
    let found: Checkpoint | undefined;
    for (const checkpoint of listCheckpoints(this.#checkpoints).reverse().map(checkCheckpoint)) {
      if (checkpoint.fault === undefined) {
        found = checkpoint;
        break;
      }
      damaged.push(checkpoint);
    }
    const step = found?.step ?? 0;
    this.#cutEventsAfter(found ? step : -1);
    for (const { step: bad, fault } of damaged) {
      const instead = found ? `going on from step ${step}` : "there is none before it: starting anew";
      this.record({
        type: "warn",
        message: `checkpoint ${checkpointName(bad)} is damaged (${fault}); ${instead}`,
      });
    }
    if (!found) return 0;
    const known = this.events().some((event) => event.type === "checkpoint" && event.step === step);
    if (!known) this.#recordCheckpoint(step, found.folder); // killed between the save and its record
    restore(found.folder);
    this.record({ type: "resume", step });
    return step;
  }

  /** Cuts behind the last event of a step up to `step`; an event without a step belongs to the one after it. The start stays. */
  #cutEventsAfter(step: number): void {
    const lines = readFileSync(this.#events, "utf8").split(/(?<=\n)/);
    let kept = 0;
    let length = 0;
    for (const line of lines) {
      const event = JSON.parse(line) as { type: string; step?: number };
      const of = event.step ?? (event.type === "start" ? -1 : undefined);
      length += Buffer.byteLength(line);
      if (of === undefined) continue;
      if (of > step) break;
      kept = length;
    }
    truncateSync(this.#events, kept);
  }

  #cutHalfLine(): void {
    if (!existsSync(this.#events)) return;
    const bytes = readFileSync(this.#events);
    const end = bytes.lastIndexOf("\n") + 1;
    if (end === 0) rmSync(this.#events);
    else if (end < bytes.length) truncateSync(this.#events, end);
  }
}

/** A run as it lies on the disk, live, ended, crashed or copied. */
export interface RunRecord {
  folder: string;
  kind: string;
  config: Record<string, unknown>;
  events: Event[];
  checkpoints: Checkpoint[];
  /** The process that is writing it now, on whatever machine. */
  writer?: number;
  result?: Record<string, unknown>;
  /** Damaged lines of the log that were passed over. */
  faults: string[];
}

/** Reads a run to show it. Throws a UserError (`DATA`) when the folder holds none. */
export function readRun(folder: string): RunRecord {
  const { kind, ...config } = readConfig(folder) ?? noRun(folder);
  const log = join(folder, "events.jsonl");
  const { events, faults } = salvageEvents(existsSync(log) ? readFileSync(log, "utf8") : "");
  const last = events.at(-1);
  return {
    folder,
    kind: String(kind),
    config,
    events,
    checkpoints: listCheckpoints(join(folder, "checkpoints")),
    writer: lockOwner(lockPath(folder))?.pid,
    result: last?.type === "done" ? last.result : undefined,
    faults,
  };
}

/** Dotted names of the settings in which two configs differ. */
export function differingKeys(a: unknown, b: unknown, path = ""): string[] {
  if (isRecord(a) && isRecord(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    return [...keys].flatMap((key) => differingKeys(a[key], b[key], path ? `${path}.${key}` : key));
  }
  return JSON.stringify(a) === JSON.stringify(b) ? [] : [path];
}

const configPath = (folder: string): string => join(folder, "config.json");
const LOCK = "writer.json";
const lockPath = (folder: string): string => join(folder, LOCK);

/** What a process that was killed as it made the run's folder may have left there. */
const isOfAStart = (name: string): boolean =>
  isPartOfLock(LOCK)(name) || (name.startsWith("config.json.") && name.endsWith(".tmp"));

function lockFolder(folder: string, onDoubt?: (words: string) => void): Lock {
  try {
    return takeLock(lockPath(folder), {
      onDoubt: (owner) =>
        onDoubt?.(`waiting up to a minute to see whether ${nameOf(owner)} still writes ${folder}`),
    });
  } catch (error) {
    if (!(error instanceof LockTaken)) throw asUserError(error, lockPath(folder));
    throw new UserError(`${folder} is being written by ${nameOf(error.owner)}.`, {
      code: "RESOURCE",
      hint: "Wait for it to end, or give another output folder.",
      cause: error,
    });
  }
}

function nameOf(owner?: ProcessIdentity): string {
  if (owner === undefined) return "another process";
  const mine = thisProcess();
  if (owner.host !== undefined && owner.host !== mine.host) return `process ${owner.pid} on ${owner.host}`;
  const isElsewhere = owner.boot !== undefined && owner.pidNamespace !== mine.pidNamespace;
  return `process ${owner.pid}${isElsewhere ? " in another container" : ""}`;
}

function isHeld(lock: Lock): boolean {
  try {
    return lock.isHeld();
  } catch (error) {
    throw asUserError(error, lock.path);
  }
}

function lostTo(folder: string): string {
  if (!existsSync(folder)) return "the folder is gone";
  const owner = lockOwner(lockPath(folder));
  return owner ? `${nameOf(owner)} writes it now` : `its ${LOCK} was taken away`;
}

function refuseOther(folder: string, wanted: Record<string, unknown>): void {
  const found = readConfig(folder);
  if (!found) {
    if (!existsSync(folder) || readdirSync(folder).every(isOfAStart)) return;
    throw new UserError(`${folder} is not empty and holds no run.`, {
      code: "CONFIG",
      hint: "Give another output folder.",
    });
  }
  // A run may go on elsewhere: its state is the same on every device.
  const keys = differingKeys(found, wanted).filter((key) => key !== "device");
  if (keys.length === 0) return;
  const what =
    found.kind === wanted.kind ? "a run with other settings" : `a run of another kind (${found.kind})`;
  const shown = keys.map((key) => `  ${key}: there ${show(at(found, key))}, now ${show(at(wanted, key))}`);
  throw new UserError(`${folder} holds ${what}.\n${shown.join("\n")}`, {
    code: "CONFIG",
    hint: "Give another output folder, or remove this one to start anew.",
  });
}

function readConfig(folder: string): Record<string, unknown> | undefined {
  const path = configPath(folder);
  if (!existsSync(path)) return undefined;
  try {
    const config: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (isRecord(config)) return config;
  } catch (error) {
    throw new UserError(`${path} is damaged: ${(error as Error).message}`, { code: "DATA", cause: error });
  }
  throw new UserError(`${path} is damaged: it holds no object.`, { code: "DATA" });
}

function noRun(folder: string): never {
  throw new UserError(`${folder} holds no run: it has no config.json.`, { code: "DATA" });
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const at = (config: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((value, key) => (isRecord(value) ? value[key] : undefined), config);

const show = (value: unknown): string => (value === undefined ? "nothing" : JSON.stringify(value));

const finite = (metrics: Record<string, number>): Record<string, number | null> =>
  Object.fromEntries(
    Object.entries(metrics).map(([key, value]) => [key, Number.isFinite(value) ? value : null]),
  );
