import { channel } from "node:diagnostics_channel";
import { PASSES, type Pass } from "./passes.js";

/** Seconds on the clock, and of all threads of this process. */
export interface Seconds {
  wall: number;
  cpu: number;
}

/** What a run has spent. */
export interface Work {
  /** Sample passes by kind; kinds that did not occur are 0. */
  passes: Record<Pass, number>;
  /** Time by phase. A phase inside another is counted in its own name only. */
  phases: Record<string, Seconds>;
}

/** The phase in which candidates are kept as pictures for people, all that they cost beyond what the judge needed. */
export const CANDIDATE_PICTURES = "candidate pictures";

/** A phase that has ended: from when to when in milliseconds, as `performance.now()` counts, with the phases inside it. */
export interface PhaseSpan {
  name: string;
  start: number;
  end: number;
}

/** Gets a `PhaseSpan` of each phase that a meter times. It costs nothing while nobody listens. */
export const PHASE_SPANS = channel("spo:phase");

/** Counts what a run spends: sample passes through networks, and wall and CPU seconds of its phases. */
export class WorkMeter {
  #passes = noPasses();
  #phases = new Map<string, Seconds>();
  readonly #open: { name: string; since: Seconds }[] = [];

  count(pass: Pass, samples: number): void {
    this.#passes[pass] += samples;
  }

  /** Runs `fn` and adds its time to the phase. In an inner phase the outer one's clock stands still. */
  phase<T>(name: string, fn: () => T): T {
    const start = this.#begin(name);
    try {
      return fn();
    } finally {
      this.#end(name, start);
    }
  }

  /** `phase` of work that is waited for; nothing else is to be measured meanwhile. */
  async phaseOf<T>(name: string, fn: () => Promise<T>): Promise<T> {
    const start = this.#begin(name);
    try {
      return await fn();
    } finally {
      this.#end(name, start);
    }
  }

  /** → when, in milliseconds. */
  #begin(name: string): number {
    this.#book();
    const since = now();
    this.#open.push({ name, since });
    return since.wall * 1e3;
  }

  #end(name: string, start: number): void {
    this.#book();
    this.#open.pop();
    if (PHASE_SPANS.hasSubscribers)
      PHASE_SPANS.publish({ name, start, end: performance.now() } satisfies PhaseSpan);
    const outer = this.#open.at(-1);
    if (outer) outer.since = now();
  }

  /** What was spent since the last call. */
  take(): Work {
    this.#book();
    const work = { passes: this.#passes, phases: Object.fromEntries(this.#phases) };
    this.#passes = noPasses();
    this.#phases = new Map();
    return work;
  }

  /** Adds the time since the innermost phase was last booked. */
  #book(): void {
    const open = this.#open.at(-1);
    if (!open) return;
    const time = now();
    const spent = this.#phases.get(open.name) ?? { wall: 0, cpu: 0 };
    spent.wall += time.wall - open.since.wall;
    spent.cpu += time.cpu - open.since.cpu;
    this.#phases.set(open.name, spent);
    open.since = time;
  }
}

/** Runs `fn`, as a phase where there is a meter. */
export const timed = <T>(meter: WorkMeter | undefined, phase: string, fn: () => T): T =>
  meter ? meter.phase(phase, fn) : fn();

function noPasses(): Record<Pass, number> {
  return Object.fromEntries(PASSES.map((pass) => [pass, 0])) as Record<Pass, number>;
}

function now(): Seconds {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now() / 1e3, cpu: (user + system) / 1e6 };
}
