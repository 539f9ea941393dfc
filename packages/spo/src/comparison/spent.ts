import type { Event, Seconds } from "@spo/records";
import { PASSES, type Pass } from "@spo/records";

/** What a training has spent. */
export interface Spent extends Seconds {
  /** Sample passes by kind. */
  passes: Record<Pass, number>;
}

export const nothingSpent = (): Spent => ({
  wall: 0,
  cpu: 0,
  passes: Object.fromEntries(PASSES.map((pass) => [pass, 0])) as Record<Pass, number>,
});

export function addSpent(a: Spent, b: Spent): Spent {
  const passes = Object.fromEntries(PASSES.map((pass) => [pass, a.passes[pass] + b.passes[pass]]));
  return { wall: a.wall + b.wall, cpu: a.cpu + b.cpu, passes: passes as Record<Pass, number> };
}

/** Floating-point operations of one sample pass of each kind. */
export type FlopsOfPasses = Record<Pass, number>;

/** Floating-point operations of all passes together. */
export const flopsOf = ({ passes }: Pick<Spent, "passes">, each: FlopsOfPasses): number =>
  PASSES.reduce((sum, pass) => sum + passes[pass] * each[pass], 0);

/** Events whose time is not training: measuring, saving, starting, and loading after a stop. */
const APART: ReadonlySet<Event["type"]> = new Set([
  "start",
  "resume",
  "eval",
  "checkpoint",
  "sample",
  "candidates",
  "done",
]);

/**
 * Adds up the time and passes of a training from its run's events. For a run of several processes, only what led to its state counts.
 *
 * The time between two events of a process belongs to the second. The first start's loading counts, because it cannot be told from the
 * first step. What a phase after a stop takes does not: it makes again what the run began with.
 */
export class SpentMeter {
  #spent = nothingSpent();
  #before: Seconds = { wall: 0, cpu: 0 };
  #goesOn = false;

  constructor(events: readonly Event[] = []) {
    for (const event of events) this.add(event);
  }

  get spent(): Spent {
    return this.#spent;
  }

  add(event: Event): void {
    const { wall, cpu } = event.time;
    // A new process counts from 0.
    if (event.type === "start" || event.type === "resume" || wall < this.#before.wall)
      this.#before = { wall: 0, cpu: 0 };
    this.#goesOn ||= event.type === "resume";
    if (!APART.has(event.type) && !(this.#goesOn && event.type === "phase")) {
      const passes = event.type === "step" ? (event.passes ?? {}) : {};
      this.#spent = addSpent(this.#spent, {
        wall: wall - this.#before.wall,
        cpu: cpu - this.#before.cpu,
        passes: { ...nothingSpent().passes, ...passes },
      });
    }
    this.#before = { wall, cpu };
  }
}
