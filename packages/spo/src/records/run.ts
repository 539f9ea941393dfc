import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync } from "node:fs";
import { basename, join } from "node:path";
import { appendLine, UserError, writeFileAtomic } from "@spo/torch/files";
import { type Event, type EventBody, parseEvents } from "./events.js";

const MANIFEST = "manifest.json";

/** A checkpoint keeps this many newest ones; older ones are removed once a newer one is whole. */
const KEPT = 2;

/**
 * A run's folder: `config.json` (resolved), `events.jsonl` (appended only), `checkpoints/`, and what the recipe puts beside them.
 *
 * Everything that shows a run reads this folder; nothing else couples them. One process at a time may write it.
 */
export class Run {
  readonly folder: string;
  readonly #began = performance.now();
  readonly #cpu = process.cpuUsage();

  constructor(folder: string) {
    this.folder = folder;
  }

  /**
   * Opens the folder of a run, making it when it is not there.
   *
   * Throws a UserError when it holds another kind of run, another config (naming the keys that differ), or is being written by a living
   * process.
   */
  static open(folder: string, { kind, config, engine }: { kind: string; config: object; engine?: Record<string, string> }): Run {
    const path = join(folder, "config.json");
    const wanted = JSON.parse(JSON.stringify({ kind, ...config })) as Record<string, unknown>;
    if (existsSync(path)) {
      const found = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
      const keys = differingKeys(found, wanted);
      if (keys.length > 0) {
        throw new UserError(`${folder} holds a run with other settings: ${keys.join(", ")}.`, {
          code: "CONFIG",
          hint: "Give another --output, or remove the folder to start anew.",
        });
      }
    } else if (existsSync(folder) && readdirSync(folder).length > 0) {
      throw new UserError(`${folder} is not empty and holds no run.`, { code: "CONFIG", hint: "Give another --output." });
    } else {
      writeFileAtomic(path, `${JSON.stringify(wanted, null, 2)}\n`);
    }
    lock(folder);
    const run = new Run(folder);
    if (!existsSync(run.#events)) run.record({ type: "start", kind, engine });
    return run;
  }

  get #events(): string {
    return join(this.folder, "events.jsonl");
  }

  get #checkpoints(): string {
    return join(this.folder, "checkpoints");
  }

  /** Appends an event and gives it back with its time. */
  record(body: EventBody): Event {
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

  *step(step: number, total: number, metrics: Record<string, number>, more: { passes?: Record<string, number>; phases?: Record<string, { wall: number; cpu: number }> } = {}): Generator<Event> {
    yield this.record({ type: "step", step, total, metrics: finite(metrics), ...more });
  }

  *eval(step: number, metrics: Record<string, number>): Generator<Event> {
    yield this.record({ type: "eval", step, metrics: finite(metrics) });
  }

  *phase(name: string, done: number, total: number): Generator<Event> {
    yield this.record({ type: "phase", name, done, total });
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
    return existsSync(this.#events) ? parseEvents(readFileSync(this.#events, "utf8")) : [];
  }

  isDue(step: number, every: number, total: number): boolean {
    return step % every === 0 || step === total;
  }

  /** Writes a checkpoint: `write` fills a folder, a manifest with hashes comes last, then the folder gets its name. */
  *save(step: number, write: (folder: string) => void): Generator<Event> {
    const name = `step-${String(step).padStart(8, "0")}`;
    const temporary = join(this.#checkpoints, `.${name}.${process.pid}`);
    const final = join(this.#checkpoints, name);
    try {
      mkdirSync(temporary, { recursive: true });
      write(temporary);
      const files = Object.fromEntries(readdirSync(temporary).map((file) => [file, sha256(join(temporary, file))]));
      writeFileAtomic(join(temporary, MANIFEST), `${JSON.stringify({ step, files }, null, 2)}\n`);
      rmSync(final, { recursive: true, force: true });
      renameSync(temporary, final);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
    for (const old of this.#names().slice(0, -KEPT)) rmSync(join(this.#checkpoints, old), { recursive: true, force: true });
    yield this.record({ type: "checkpoint", step, folder: join("checkpoints", name) });
  }

  /**
   * Restores the newest whole checkpoint and gives the step to go on with; 0 for a new run.
   *
   * Damaged checkpoints are passed over, with a warning. Events of steps after the checkpoint are cut off: they will be done again.
   */
  resume(restore: (folder: string) => void): number {
    for (const name of this.#names().reverse()) {
      const folder = join(this.#checkpoints, name);
      const fault = faultOf(folder);
      if (fault) {
        this.record({ type: "warn", message: `checkpoint ${name} is damaged (${fault}); using the one before` });
        continue;
      }
      const { step } = JSON.parse(readFileSync(join(folder, MANIFEST), "utf8")) as { step: number };
      restore(folder);
      this.#cutEventsAfter(step);
      this.record({ type: "resume", step });
      return step;
    }
    this.#cutEventsAfter(0);
    return 0;
  }

  #names(): string[] {
    if (!existsSync(this.#checkpoints)) return [];
    return readdirSync(this.#checkpoints)
      .filter((name) => /^step-\d+$/.test(name))
      .sort();
  }

  #cutEventsAfter(step: number): void {
    const text = readFileSync(this.#events, "utf8");
    let kept = 0;
    for (const line of text.split(/(?<=\n)/)) {
      if (!line.endsWith("\n")) break;
      const event = JSON.parse(line) as { step?: number };
      if ((event.step ?? 0) > step) break;
      kept += Buffer.byteLength(line);
    }
    truncateSync(this.#events, kept);
  }
}

/** JSON has no NaN: it is logged as null. */
const finite = (metrics: Record<string, number>): Record<string, number | null> =>
  Object.fromEntries(Object.entries(metrics).map(([key, value]) => [key, Number.isFinite(value) ? value : null]));

const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

/** Why a checkpoint is not whole, or undefined. */
function faultOf(folder: string): string | undefined {
  try {
    const { files } = JSON.parse(readFileSync(join(folder, MANIFEST), "utf8")) as { files: Record<string, string> };
    for (const [file, hash] of Object.entries(files)) {
      if (basename(file) !== file) return `${file} is no plain name`;
      if (sha256(join(folder, file)) !== hash) return `${file} has changed`;
    }
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Dotted names of the settings in which two configs differ. */
export function differingKeys(a: unknown, b: unknown, path = ""): string[] {
  if (typeof a === "object" && typeof b === "object" && a !== null && b !== null && !Array.isArray(a) && !Array.isArray(b)) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
    return [...keys].flatMap((key) =>
      differingKeys((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], path ? `${path}.${key}` : key),
    );
  }
  return JSON.stringify(a) === JSON.stringify(b) ? [] : [path];
}

/** A file with the writer's process number. One left behind by a dead process is taken over. */
function lock(folder: string): void {
  const path = join(folder, "writer.pid");
  if (existsSync(path)) {
    const pid = Number(readFileSync(path, "utf8"));
    if (pid !== process.pid && isAlive(pid)) {
      throw new UserError(`${folder} is being written by process ${pid}.`, { code: "CONFIG", hint: "Wait for it, or give another --output." });
    }
  }
  writeFileAtomic(path, `${process.pid}\n`);
  process.once("exit", () => {
    try {
      if (readFileSync(path, "utf8").trim() === String(process.pid)) rmSync(path);
    } catch {
      // The folder is gone; so is the lock.
    }
  });
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
