// What a run's whole log says, kept up with as it grows: metrics as columns, of the rest what a page shows.
import { join } from "node:path";
import { CANDIDATE_PICTURES, type Event, salvageEvents } from "@spo/records";
import type { TimestepCell, TimestepMap } from "../api.js";
import { Columns } from "./columns.js";
import { LogCursor } from "./log-cursor.js";

/** Warnings that are kept. */
const WARNINGS = 100;
/** Newest steps that the time of a step is averaged over. */
const RECENT = 20;

type Of<T extends Event["type"]> = Extract<Event, { type: T }>;

/** What a log says so far. */
class Contents {
  /** Of updates; x is the number of the update, from 1. */
  readonly updates = new Columns();
  /** Of measurements; x is the step. */
  readonly evals = new Columns();
  readonly evalEvents: Of<"eval">[] = [];
  readonly samples: Of<"sample">[] = [];
  readonly timesteps: Of<"comparisons">[] = [];
  /** By round. */
  readonly learned = new Map<number, Of<"pairs">>();
  readonly warnings: string[] = [];
  start?: Of<"start">;
  data?: Of<"data">;
  /** The newest steps, for the time that they take. */
  readonly recent: Of<"step">[] = [];
  newest?: Event;
  /** Seconds of the processes before the one that wrote the newest event. */
  before = 0;
  mostMemory = 0;
  /** Seconds that the pictures of candidates took. */
  picturing = 0;
  faults = 0;

  add(event: Event): void {
    const { time } = event;
    if (this.newest && time.wall < this.newest.time.wall) this.before += this.newest.time.wall;
    this.newest = event;
    this.mostMemory = Math.max(this.mostMemory, time.rss ?? 0);
    if (event.type === "start") this.start ??= event;
    else if (event.type === "resume")
      this.recent.length = 0; // the pause before it is no time of a step
    else if (event.type === "data") this.data = event;
    else if (event.type === "step") this.#addStep(event);
    else if (event.type === "eval") {
      this.evals.push(event.step, event.metrics);
      this.evalEvents.push(event);
    } else if (event.type === "sample") this.samples.push(event);
    else if (event.type === "comparisons") this.timesteps.push(event);
    else if (event.type === "pairs") this.learned.set(event.step, event);
    else if (event.type === "warn" && this.warnings.length < WARNINGS) this.warnings.push(event.message);
    else if (event.type === "guard")
      this.warnings.push(
        `the guard ${event.action === "stop" ? "stopped the training" : "lowered the learning rate"} at ${event.step}: ${event.reason}`,
      );
  }

  #addStep(event: Of<"step">): void {
    this.updates.push(this.updates.rows + 1, event.metrics);
    this.picturing += event.time.phases?.[CANDIDATE_PICTURES]?.wall ?? 0;
    this.recent.push(event); // of a round all its updates
    while ((this.recent[0]?.step ?? 0) < event.step - RECENT) this.recent.shift();
  }
}

/** The log of one run, read once and then as it grows. */
export class RunLog {
  readonly #cursor: LogCursor;
  #contents = new Contents();
  #reading?: Promise<void>;

  constructor(folder: string) {
    this.#cursor = new LogCursor(join(folder, "events.jsonl"));
  }

  /** Reads what has come since; others compute between two parts of a long log. */
  read(): Promise<void> {
    this.#reading ??= this.#readOn().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readOn(): Promise<void> {
    for (let atEnd = false; !atEnd; ) {
      const read = this.#cursor.read();
      atEnd = read.atEnd;
      if (read.anew) this.#contents = new Contents();
      for (const { text } of read.lines) {
        const { events, faults } = salvageEvents(`${text}\n`);
        this.#contents.faults += faults.length;
        for (const event of events) this.#contents.add(event);
      }
      if (!atEnd) await new Promise(setImmediate);
    }
  }

  /** Where it was read to. */
  get mark(): string {
    return this.#cursor.mark;
  }

  get contents(): Readonly<Contents> {
    return this.#contents;
  }

  /** Seconds that processes worked on it. */
  get elapsed(): number {
    const { before, newest } = this.#contents;
    return before + (newest?.time.wall ?? 0);
  }

  /** Mean seconds of a step over the newest ones, of its parts, and by rank of several processes; undefined before there are two. */
  get perStep():
    | { seconds: number; parts: { part: string; seconds: number }[]; ranks: number[] }
    | undefined {
    const { recent } = this.#contents;
    const last = recent.at(-1);
    const first = recent.findLast(({ step }) => step === recent[0]?.step); // its end, from which on time is counted
    if (!first || !last || last.step <= first.step) return undefined;
    const steps = last.step - first.step;
    const parts = new Map<string, number>();
    const ranks: number[] = [];
    for (const { time } of recent.slice(recent.indexOf(first) + 1)) {
      for (const [part, { wall }] of Object.entries(time.phases ?? {}))
        parts.set(part, (parts.get(part) ?? 0) + wall);
      for (const [rank, seconds] of (time.ranks ?? []).entries()) ranks[rank] = (ranks[rank] ?? 0) + seconds;
    }
    return {
      seconds: (last.time.wall - first.time.wall) / steps,
      parts: [...parts].map(([part, seconds]) => ({ part, seconds: seconds / steps })),
      ranks: ranks.map((seconds) => seconds / steps),
    };
  }

  /** Rounds × timesteps. */
  timestepMap(): TimestepMap {
    const { timesteps: events, learned } = this.#contents;
    const timesteps = [
      ...new Set(events.flatMap((event) => event.timesteps.map(({ timestep }) => timestep))),
    ];
    timesteps.sort((a, b) => b - a);
    return {
      schema: "spo.studio.timesteps/1",
      timesteps,
      rounds: events.map((event) => ({
        round: event.step,
        cells: timesteps.map((timestep) => cellOf(event, learned.get(event.step), timestep)),
      })),
    };
  }
}

function cellOf(
  judged: Of<"comparisons">,
  learned: Of<"pairs"> | undefined,
  timestep: number,
): TimestepCell | null {
  const found = judged.timesteps.find((each) => each.timestep === timestep);
  if (!found) return null;
  const { pairs, valid, margin, spread = null, notFinite = 0 } = found;
  const { accuracy = null, logRatio = null } =
    learned?.timesteps.find((each) => each.timestep === timestep) ?? {};
  return { pairs, valid, margin, spread, notFinite, accuracy, logRatio };
}
