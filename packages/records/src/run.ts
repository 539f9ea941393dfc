import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import {
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
import { z } from "zod";
import { type Activity, ActivityFile } from "./activity.js";
import { CheckpointThread } from "./checkpoint-thread.js";
import { type Checkpoint, checkCheckpoint, listCheckpoints, pruneCheckpoints } from "./checkpoints.js";
import { EventLog } from "./event-log.js";
import { type Event, type EventBody, parseEvents, salvageEvents } from "./events.js";
import { readOrdinary, readRecord } from "./read-record.js";
import { type MapPaths, placesOf, writtenPath } from "./run-paths.js";
import { type RunRequest, takeRequests } from "./run-requests.js";
import { TensorboardLog } from "./tensorboard-log.js";
import { TimeLeft } from "./time-left.js";
import {
  type CheckpointFiles,
  type CheckpointPlace,
  checkpointName,
  placeCheckpoint,
  writeCheckpoint,
} from "./write-checkpoint.js";

/** The newest checkpoints that are kept: one to go on from, and one in case that is damaged. */
const KEPT = 2;

/** What a recipe spends in a step. */
interface Spent {
  passes?: Record<string, number>;
  phases?: Record<string, { wall: number; cpu: number }>;
  /** Seconds on the clock that each process computed, by rank, where there are several. */
  ranks?: number[];
}

/** Numbers and digests by which a run remembers its data, by name. */
export type DataFacts = Readonly<Record<string, string | number>>;

/** Settings, by dotted name, that an existing run may be given anew: its result still means the same. */
export interface MayChange {
  settings: readonly string[];
  /** The setting of a training's length, if it may change: not below the steps that are done. */
  length?: string;
}

/** What a run is opened with. */
export interface RunSettings {
  kind: string;
  config: object;
  /** The paths of the config, so that the run can be moved. Default: none are known, and the config is written as it is. */
  mapPaths?: MapPaths;
  /** Default: only the device. */
  mayChange?: MayChange;
}

/**
 * A run's folder: `config.json` (resolved), `events.jsonl` (appended only), `checkpoints/`, and what the recipe puts beside them.
 *
 * Everything that shows a run reads this folder; nothing else couples them. One process at a time may write it.
 *
 * The methods that record do so at once and give the recorded events, for a recipe to `yield*`: with them those that nobody was given
 * yet, as what `resume` found.
 */
export class Run {
  readonly folder: string;
  readonly #lock: Lock | undefined;
  readonly #log: EventLog;
  /** Of a run that this process follows: what it would have written. */
  readonly #followed: Event[] | undefined;
  readonly #activity: ActivityFile;
  readonly #time = new TimeLeft();
  #tensorboard?: TensorboardLog;
  #start: EventBody | undefined;
  #config: Record<string, unknown> = {};
  #change: Change = { keys: [], goesOn: false };
  #untold: Event[] = [];
  readonly #thread = new CheckpointThread();
  /** A checkpoint that has its name and is not in the log. */
  #placed: CheckpointPlace | undefined;
  readonly #began = performance.now();
  readonly #cpu = process.cpuUsage();

  /** Use `Run.open`. */
  constructor(folder: string, lock?: Lock, { follows = false } = {}) {
    this.folder = folder;
    this.#lock = lock;
    this.#followed = follows ? [] : undefined;
    this.#log = new EventLog(logPath(folder));
    this.#activity = new ActivityFile(folder);
    if (!follows) this.#log.open();
  }

  /**
   * A run that another process of the same training writes. It writes nothing: its events are in memory, and go to whoever listens here. It
   * is never resumed: it gets its state from the process that writes.
   */
  static follow(folder: string): Run {
    return new Run(folder, undefined, { follows: true });
  }

  /** Whether this process writes the folder. */
  get writes(): boolean {
    return this.#followed === undefined;
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
      engine,
      onDoubt,
      silenceMs,
      ...settings
    }: RunSettings & {
      engine?: Record<string, string>;
      onDoubt?: (words: string) => void;
      /** Default: a minute. */
      silenceMs?: number;
    },
  ): Run {
    const { kind } = settings;
    const wanted = asWritten(folder, settings);
    changeOf(folder, wanted, settings); // before the lock, which is a change to the folder
    makeFolder(folder);
    const lock = lockFolder(folder, { onDoubt, silenceMs });
    try {
      // Again: another process may just have made a run of it, or gone on with it.
      const change = changeOf(folder, wanted, settings);
      const run = new Run(folder, lock);
      run.#change = change;
      run.#config = wanted;
      run.#start = { type: "start", kind, engine, from: relativeTo(folder, process.cwd()) };
      removeLeftovers(configPath(folder));
      takeRequests(folder); // they were meant for another process
      if (!existsSync(configPath(folder))) run.#writeConfig();
      if (!run.#log.isThere()) run.#append(run.#start);
      return run;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /**
   * The last event of a run that has ended and has nothing to go on with, or undefined. Writes nothing, for the disk may be read-only; of a
   * process that was killed after the end it takes the lock away, where the disk lets it.
   *
   * Throws as `open` does for a folder of something else.
   */
  static ended(folder: string, settings: RunSettings): Event | undefined {
    if (!existsSync(configPath(folder)) || !existsSync(logPath(folder))) return undefined;
    const { goesOn } = changeOf(folder, asWritten(folder, settings), settings);
    const last = parseEvents(readLog(folder), logPath(folder)).at(-1);
    if (last?.type !== "done" || goesOn) return undefined;
    if (runWriter(folder) === "killed") takeAwayLock(folder);
    return last;
  }

  /** Lets another process write the folder. The end of the process does so too. */
  close(): void {
    if (this.writes) this.#activity.clear();
    try {
      this.#finishSaving({ wait: true });
    } catch {
      // Only a run that fails is closed while it saves, and the fault that led here says more.
    }
    this.#thread.close();
    this.#lock?.release();
  }

  /**
   * Closes a run and takes it away if it has nothing but its start: one that failed there, for a mistyped path say, must not stand in the
   * way of the next try.
   */
  discardUnused(): void {
    if (!existsSync(this.folder)) {
      this.close(); // taken away at work: the fault that led here says more
      return;
    }
    this.#activity.clear();
    takeRequests(this.folder);
    const own = [configPath(this.folder), this.#log.path, lockPath(this.folder)];
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

  get #checkpoints(): string {
    return join(this.folder, "checkpoints");
  }

  /** Appends an event and gives it back with its time. Throws a UserError (`RESOURCE`) where another process has taken the run over. */
  record(body: EventBody): Event {
    if (!this.writes) return this.#append(body);
    this.#requireLock();
    this.#lookAtLog();
    const event = this.#append(body);
    // After the event: the time before it belongs to the event, not to the checkpoint.
    this.#finishSaving({ wait: false });
    return event;
  }

  #append(body: EventBody): Event {
    const event = this.#stamped(body);
    if (this.#followed) this.#followed.push(event);
    else {
      this.#showInTensorboard(event);
      this.#log.append(JSON.stringify(event));
      this.#time.see(event, event.time.wall);
      if (event.type === "step") this.#tellActivity(event, { phase: "updating", done: 0, total: 0 });
    }
    return event;
  }

  #showInTensorboard(event: Event): void {
    if (!this.#tensorboard) {
      if (!TensorboardLog.shows(event)) return;
      const before = this.#log.isThere() ? salvageEvents(readLog(this.folder)).events : [];
      this.#tensorboard = new TensorboardLog(this.folder, { before });
    }
    this.#tensorboard.add(event);
  }

  #stamped(body: EventBody): Event {
    const { phases, ranks, ...rest } = body;
    const { user, system } = process.cpuUsage(this.#cpu);
    return {
      ...rest,
      time: {
        at: new Date().toISOString(),
        wall: (performance.now() - this.#began) / 1000,
        cpu: (user + system) / 1e6,
        phases,
        ranks,
        rss: process.memoryUsage.rss(),
      },
    } as Event;
  }

  /** Tells those who watch the folder what the run is doing now, and gives the event, which is not written to the log. */
  tellPhase(
    name: string,
    { done, total, left }: { done: number; total: number; left?: number } = { done: 0, total: 0 },
  ): Event {
    const event = this.#stamped({ type: "phase", name, done, total, left });
    this.#time.see(event, event.time.wall);
    if (this.#lock) {
      this.#tellActivity(event, { phase: name, done, total });
      this.#placeSaved({ wait: false });
    }
    return event;
  }

  #tellActivity({ time: { at, wall } }: Event, what: Pick<Activity, "phase" | "done" | "total">): void {
    this.#activity.tell({ ...what, left: this.#time.secondsLeft(wall), at });
  }

  /** What those who watch the folder ask of this run since the last call; to be done after the step at work. */
  takeRequests(): RunRequest[] {
    return this.writes ? takeRequests(this.folder) : [];
  }

  /** Records a warning that is returned together with the next recorded event. */
  #tellLater(message: string): void {
    this.#untold.push(this.#append({ type: "warn", message }));
  }

  #lookAtLog(): void {
    const what = this.#log.disturbance();
    if (what === undefined) return;
    if (!this.#log.isThere() && this.#start) this.#append(this.#start);
    this.#tellLater(
      what === "gone"
        ? `${this.#log.path} was removed while this run was at work: what it held is lost, and it begins anew here`
        : `${this.#log.path} was changed by something else while this run was at work: what it held may be lost`,
    );
  }

  /** Events that were recorded and that no method has given yet, each once. */
  takeUntold(): Event[] {
    return this.#untold.splice(0);
  }

  #tell(body: EventBody): Event[] {
    const event = this.record(body);
    return [...this.takeUntold(), event];
  }

  /** Record all of a step before saving it: what comes after the save is done again when the run is resumed. */
  step(step: number, total: number, metrics: Record<string, number>, spent: Spent = {}): Event[] {
    return this.#tell({ type: "step", step, total, metrics: finite(metrics), ...spent });
  }

  eval(step: number, metrics: Record<string, number>): Event[] {
    return this.#tell({ type: "eval", step, metrics: finite(metrics) });
  }

  phase(name: string, done: number, total: number): Event[] {
    return this.#tell({ type: "phase", name, done, total });
  }

  warn(message: string): Event[] {
    return this.#tell({ type: "warn", message });
  }

  /**
   * Remembers what the run reads, by numbers and digests; called again, after `resume`, it warns of each that is another one now.
   *
   * So data that were replaced under the same path cause a warning.
   */
  data(facts: DataFacts): Event[] {
    const before = this.events().findLast((event) => event.type === "data");
    if (before?.type !== "data") return this.#tell({ type: "data", facts });
    const keys = differingKeys(before.facts, facts);
    if (keys.length === 0) return this.takeUntold();
    const shown = keys.map(
      (key) => `${key} was ${show(own(before.facts, key))} and is ${show(own(facts, key))}`,
    );
    const warning = `the data are not those that this run began with: ${shown.join("; ")}. What it learned before came from the others`;
    return [...this.warn(warning), ...this.#tell({ type: "data", facts })];
  }

  done(result: Record<string, unknown>): Event[] {
    this.#finishSaving({ wait: true });
    if (this.writes) this.#activity.clear(); // a process that is killed from here on leaves none: nobody opens an ended run again
    return this.#tell({ type: "done", result });
  }

  /** The result of a run that has ended and is not to be continued. */
  result(): Record<string, unknown> | undefined {
    const last = this.events().at(-1);
    return last?.type === "done" && !this.#change.goesOn ? last.result : undefined;
  }

  events(): Event[] {
    if (this.#followed) return [...this.#followed];
    return this.#log.isThere() ? parseEvents(readLog(this.folder), this.#log.path) : [];
  }

  /**
   * Writes a checkpoint, whole or not at all, while the training goes on: the files are copied, and a thread writes them. It has its name,
   * and its event, when they are on the disk. The next save and `done` wait for it, and throw what it threw.
   *
   * wait: returns when it is written, as before a stop.
   */
  save(step: number, files: () => CheckpointFiles, { wait = false } = {}): Event[] {
    if (!this.writes) return [];
    this.#requireLock();
    this.#finishSaving({ wait: true });
    this.#lookAtLog();
    // A checkpoint must not outlive the events that led to it.
    syncFile(this.#log.path);
    syncFile(this.folder);
    this.#thread.begin({ checkpoints: this.#checkpoints, step, log: this.#log.mark() }, files());
    this.#finishSaving({ wait });
    return this.takeUntold();
  }

  /** Gives the checkpoint that was written its name and its event. */
  #finishSaving({ wait }: { wait: boolean }): void {
    this.#placeSaved({ wait });
    if (this.#placed === undefined) return;
    const { step } = this.#placed;
    this.#placed = undefined;
    this.#untold.push(this.#recordCheckpoint(step, join(this.#checkpoints, checkpointName(step))));
  }

  /** The name alone, in the midst of a step: an event would take the step's time for the saving's. */
  #placeSaved({ wait }: { wait: boolean }): void {
    const written = this.#thread.finish({ wait });
    if (written === undefined) return;
    this.#requireLock();
    placeCheckpoint(written);
    pruneCheckpoints(this.#checkpoints, written.step, KEPT);
    this.#placed = written;
  }

  /** Keeps the weights of the best measurement, whole or not at all, beside the checkpoints and in place of those before. */
  saveBest(step: number, files: CheckpointFiles): void {
    if (!this.writes) return;
    this.#requireLock();
    writeCheckpoint({ checkpoints: this.#best, step }, files);
    pruneCheckpoints(this.#best, step, 1);
  }

  /** The folder of `saveBest`. Throws a UserError (`DATA`) where it is damaged or gone. */
  best(step: number): string {
    const { folder, fault } = checkCheckpoint({ step, folder: join(this.#best, checkpointName(step)) });
    if (fault === undefined) return folder;
    throw new UserError(`${folder}, the best weights of this run, cannot be used: ${fault}.`, {
      code: "DATA",
      hint: "Remove the run's newest checkpoint and call again: it goes on from the one before.",
    });
  }

  get #best(): string {
    return join(this.folder, "best");
  }

  /** A process that slept and gave no signs of life may have been taken for dead. */
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
      folder: relativeTo(this.folder, folder),
    });
  }

  /**
   * Restores the newest whole checkpoint and gives the step to go on with; 0 for a new run.
   *
   * Events of steps after the checkpoint are cut off, because the steps are repeated. Damaged, missing or changed files cause warnings.
   * Where a run that had checkpoints has no whole one, it begins anew and its log is kept under another name. Throws a UserError (`DATA`)
   * for a damaged log, and for an ended run that is to go on and cannot.
   */
  resume(restore: (folder: string) => void): number {
    const events = this.events(); // throws where the log is damaged: a run is never resumed on a guess
    const saved = Math.max(0, ...events.map((event) => (event.type === "checkpoint" ? event.step : 0)));
    const damaged: Checkpoint[] = [];
    let found: Checkpoint | undefined;
    for (const checkpoint of listCheckpoints(this.#checkpoints).reverse().map(checkCheckpoint)) {
      if (checkpoint.fault === undefined) {
        found = checkpoint;
        break;
      }
      damaged.push(checkpoint);
    }
    const warnings = damaged.map(
      ({ step, fault }) =>
        `checkpoint ${checkpointName(step)} is damaged (${fault}); ${found ? `going on from step ${found.step}` : "there is none before it: starting anew"}`,
    );
    if (found) {
      if (saved > found.step && !damaged.some(({ step }) => step === saved))
        warnings.push(
          `checkpoint ${checkpointName(saved)}, which the log tells of, is gone; going on from step ${found.step}`,
        );
      warnings.push(...this.#cutToCheckpoint(found));
    } else if (saved > 0) {
      if (this.#change.goesOn)
        throw new UserError(`${this.folder} has ended, and no checkpoint is left that it could go on from.`, {
          code: "DATA",
          hint: "Its result is untouched. Put its checkpoints/ back, or start another run.",
        });
      const aside = this.#log.layAside();
      if (this.#start) this.#append(this.#start);
      warnings.push(
        `no whole checkpoint is left, though there was one at step ${saved}: the run begins anew at step 1. Its log is kept as ${aside}`,
      );
    } else this.#cutEventsAfter(-1);
    for (const warning of warnings) this.#tellLater(warning);
    const step = found?.step ?? 0;
    if (found) {
      const known = this.events().some((event) => event.type === "checkpoint" && event.step === step);
      if (!known) this.#recordCheckpoint(step, found.folder); // killed between the save and its record
      restore(found.folder);
      this.record({ type: "resume", step });
    }
    this.#recordChanges(step);
    return step;
  }

  /** The run has taken up the settings that it was opened with. */
  #recordChanges(step: number): void {
    const { keys } = this.#change;
    const before = readConfig(this.folder) ?? {};
    if (keys.length === 0) {
      // The run was moved, say: its paths are written anew, from where it lies now.
      if (differingKeys(before, this.#config).length > 0) this.#writeConfig();
      return;
    }
    const changes = Object.fromEntries(
      keys.map((key) => [key, { from: at(before, key), to: at(this.#config, key) }]),
    );
    this.#untold.push(this.record({ type: "settings", step, changes }));
    this.#writeConfig();
    this.#change = { keys: [], goesOn: false };
  }

  #writeConfig(): void {
    writeFileAtomic(configPath(this.folder), `${JSON.stringify(this.#config, null, 2)}\n`);
  }

  /** Cuts the log to its state when the checkpoint was saved → warnings. */
  #cutToCheckpoint({ step, log }: Checkpoint): string[] {
    if (log && this.#log.holds(log)) {
      const next = this.#log.lines().reduce(
        ({ from, record }, line) => ({
          from: from + Buffer.byteLength(line),
          record: from === log.bytes ? line : record,
        }),
        { from: 0, record: "" },
      ).record;
      const isRecord = next !== "" && isCheckpointOf(next, step);
      this.#log.cut(log.bytes + (isRecord ? Buffer.byteLength(next) : 0));
      return [];
    }
    const { bytes } = this.#log.mark();
    this.#cutEventsAfter(step);
    if (!log) return []; // saved by an earlier version
    const what = bytes < log.bytes ? "is shorter than it was" : "is not what it was";
    return [
      `${this.#log.path} ${what} when ${checkpointName(step)} was saved: the history up to step ${step} is lost or changed. The training's state is whole`,
    ];
  }

  /** Cuts behind the last event of a step up to `step`; an event without a step belongs to the one after it. The start stays. */
  #cutEventsAfter(step: number): void {
    let kept = 0;
    let length = 0;
    for (const line of this.#log.lines()) {
      const event = JSON.parse(line) as { type: string; step?: number };
      const of = event.step ?? (event.type === "start" ? -1 : undefined);
      length += Buffer.byteLength(line);
      if (of === undefined) continue;
      if (of > step) break;
      kept = length;
    }
    this.#log.cut(kept);
  }
}

function isCheckpointOf(line: string, step: number): boolean {
  const event = JSON.parse(line) as { type: string; step?: number };
  return event.type === "checkpoint" && event.step === step;
}

/** A run as read from the disk: live, ended, crashed or copied. */
export interface RunRecord {
  folder: string;
  /** The absolute path that it had when its config was written, from which the config's relative paths were. */
  writtenIn?: string;
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
  const found = readConfig(folder) ?? noRun(folder);
  const { kind } = found;
  if (typeof kind !== "string")
    throw new UserError(`${configPath(folder)} is damaged: it names no kind of run.`, { code: "DATA" });
  const { events, faults } = salvageEvents(existsSync(logPath(folder)) ? readLog(folder) : "");
  const last = events.at(-1);
  return {
    folder,
    writtenIn: writtenIn(found),
    kind,
    config: settingsIn(found),
    events,
    checkpoints: listCheckpoints(join(folder, "checkpoints")),
    writer: lockOwner(lockPath(folder))?.pid,
    result: last?.type === "done" ? last.result : undefined,
    faults,
  };
}

/** Who writes a run: a process at work, none, or one that ended without giving the run back, as a killed one does. */
export type RunWriter = { pid: number } | "none" | "killed";

/** Who writes the run of a folder, asked of the system now. */
export function runWriter(folder: string): RunWriter {
  if (!existsSync(lockPath(folder))) return "none";
  const owner = lockOwner(lockPath(folder));
  if (owner) return { pid: owner.pid };
  return existsSync(lockPath(folder)) ? "killed" : "none"; // it may just have been given back
}

/** Dotted names of the settings in which two configs differ. */
export function differingKeys(a: unknown, b: unknown, path = ""): string[] {
  if (isRecord(a) && isRecord(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    return [...keys].flatMap((key) => differingKeys(own(a, key), own(b, key), path ? `${path}.${key}` : key));
  }
  return JSON.stringify(a) === JSON.stringify(b) ? [] : [path];
}

const logPath = (folder: string): string => join(folder, "events.jsonl");

const readLog = (folder: string): string => readOrdinary(logPath(folder)).toString("utf8");

const configPath = (folder: string): string => join(folder, "config.json");
const LOCK = "writer.json";
const lockPath = (folder: string): string => join(folder, LOCK);

/** What a process that was killed as it made the run's folder may have left there. */
const isOfAStart = (name: string): boolean =>
  isPartOfLock(LOCK)(name) || (name.startsWith("config.json.") && name.endsWith(".tmp"));

function lockFolder(
  folder: string,
  { onDoubt, silenceMs }: { onDoubt?: (words: string) => void; silenceMs?: number },
): Lock {
  try {
    return takeLock(lockPath(folder), {
      silenceMs,
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

/** Of a process that was killed. */
function takeAwayLock(folder: string): void {
  try {
    lockFolder(folder, {}).release();
  } catch {
    // A disk that is not written keeps it, and another process may have taken the run meanwhile.
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

const relativeTo = (folder: string, path: string): string => relative(folder, path).replaceAll(sep, "/");

/** The differences between a run and how it is opened. */
interface Change {
  keys: string[];
  /** It had ended, and its end is now later. */
  goesOn: boolean;
}

/** Where config.json has a setting called `kind`: under that name stands the run's own. */
const KIND_SETTING = "kindSetting";

/** Where config.json says in which folder it was written. Its paths are relative to that, or absolute. */
const WRITTEN_IN = "runFolder";

/** A config.json: paths relative to the run's folder or absolute, never to the current folder. */
function asWritten(folder: string, { kind, config, mapPaths }: RunSettings): Record<string, unknown> {
  const mapped = mapPaths?.(config, (path) => writtenPath(folder, path)) ?? config;
  const { kind: setting, ...rest } = mapped as Record<string, unknown>;
  const place = mapPaths && { [WRITTEN_IN]: resolve(folder) };
  return JSON.parse(JSON.stringify({ kind, ...place, ...rest, [KIND_SETTING]: setting })) as Record<
    string,
    unknown
  >;
}

/** The settings of a config.json. */
export const settingsIn = ({
  kind: _,
  [WRITTEN_IN]: _1,
  [KIND_SETTING]: setting,
  ...rest
}: Record<string, unknown>): Record<string, unknown> =>
  setting === undefined ? rest : { ...rest, kind: setting };

/** Where a config.json was written; undefined where an earlier version wrote it, or no paths were known. */
const writtenIn = ({ [WRITTEN_IN]: folder }: Record<string, unknown>): string | undefined =>
  typeof folder === "string" ? folder : undefined;

/** Dotted names of settings that differ. A path is the same where it leads to the same place, also after a move of the run or of all. */
function changedKeys(
  folder: string,
  found: Record<string, unknown>,
  wanted: Record<string, unknown>,
  mapPaths?: MapPaths,
): string[] {
  if (!mapPaths || found.kind !== wanted.kind) return differingKeys(found, wanted);
  const known = new Set<string>();
  const now = mapPaths(settingsIn(wanted), (path) => {
    const place = resolve(folder, path);
    known.add(place);
    return place;
  });
  const isEarlier = writtenIn(found) === undefined && existsSync(logPath(folder));
  const events = isEarlier ? salvageEvents(readLog(folder)).events : [];
  const record = { folder, writtenIn: writtenIn(found), events };
  const there = mapPaths(
    settingsIn(found),
    (path) => placesOf(record, path).find((place) => known.has(place)) ?? path,
  );
  return differingKeys(there, now).map((key) => (key === "kind" ? KIND_SETTING : key));
}

/** The settings that differ and may. Throws a UserError (`CONFIG`) for those that may not, and for a folder of something else. */
function changeOf(
  folder: string,
  wanted: Record<string, unknown>,
  // A run may go on elsewhere: its state is the same on every device.
  {
    mapPaths,
    mayChange: { settings, length } = { settings: ["device"] },
  }: Pick<RunSettings, "mapPaths" | "mayChange">,
): Change {
  let found = readConfig(folder);
  if (!found) {
    // Listed once: another process may make a run of it at any moment, and what holds the lock looks again.
    if (!existsSync(folder) || readdirSync(folder).every(isOfAStart)) return { keys: [], goesOn: false };
    found = readConfig(folder);
  }
  if (!found) {
    throw new UserError(`${folder} is not empty and holds no run.`, {
      code: "CONFIG",
      hint: "Give another output folder.",
    });
  }
  const differing = changedKeys(folder, found, wanted, mapPaths);
  const may = length === undefined ? settings : [...settings, length];
  const keys = found.kind === wanted.kind ? differing.filter((key) => !may.includes(key)) : differing;
  if (keys.length > 0) {
    const what =
      found.kind === wanted.kind
        ? "a run with other settings"
        : `a run of another kind (${found.kind ?? "none is named"})`;
    const shown = keys.map((key) => `  ${key}: there ${show(at(found, key))}, now ${show(at(wanted, key))}`);
    throw new UserError(`${folder} holds ${what}.\n${shown.join("\n")}`, {
      code: "CONFIG",
      hint: `Give another output folder, or remove this one to start anew. Of a run that exists ${may.length === 1 ? `${may[0]} alone may` : `${may.slice(0, -1).join(", ")} and ${may.at(-1)} may`} change.`,
    });
  }
  if (length === undefined || !differing.includes(length)) return { keys: differing, goesOn: false };
  const { events } = salvageEvents(existsSync(logPath(folder)) ? readLog(folder) : "");
  const done = Math.max(0, ...events.map((event) => ("step" in event ? event.step : 0)));
  if (Number(wanted[length]) < done) {
    throw new UserError(
      `${folder} has done ${done} of its ${length}: ${show(wanted[length])} lies behind it.`,
      {
        code: "CONFIG",
        hint: `Give ${length} of ${done} or more, or another output folder.`,
      },
    );
  }
  return { keys: differing, goesOn: events.at(-1)?.type === "done" && Number(wanted[length]) > done };
}

function readConfig(folder: string): Record<string, unknown> | undefined {
  const path = configPath(folder);
  if (!existsSync(path)) return undefined;
  return readRecord(path, z.record(z.string(), z.unknown(), { error: "it holds no object" }));
}

function noRun(folder: string): never {
  throw new UserError(`${folder} holds no run: it has no config.json.`, { code: "DATA" });
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const at = (config: unknown, path: string): unknown =>
  path.split(".").reduce<unknown>((value, key) => (isRecord(value) ? own(value, key) : undefined), config);

/** A key may have the name of a member that every object has. */
const own = (record: Readonly<Record<string, unknown>>, key: string): unknown =>
  Object.hasOwn(record, key) ? record[key] : undefined;

const LONGEST_SHOWN = 200;

function show(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length <= LONGEST_SHOWN ? text : `${text.slice(0, LONGEST_SHOWN)}…`;
}

const finite = (metrics: Record<string, number>): Record<string, number | null> =>
  Object.fromEntries(
    Object.entries(metrics).map(([key, value]) => [key, Number.isFinite(value) ? value : null]),
  );
