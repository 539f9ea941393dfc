// Estimates the time left of a training: the time of each kind of work as it was lately, times its remaining number.
import type { Event } from "./events.js";
import { mean } from "./statistics.js";

/** One kind of work: sampling of a round, drawing held-out samples, measuring, saving. */
interface Kind {
  /** The newest ones. */
  took: readonly Work[];
  /** What the newest one counts to. */
  total: number;
  /** How many more will come after it. */
  left: number;
}

/** One that is over: how far the training was when it ended, and its seconds for each part of its count. */
interface Work {
  position: number;
  seconds: number;
}

/** What the time goes to now: a kind of work, or the updates. */
interface Open {
  /** Undefined: updates. */
  name?: string;
  began: number;
  /** Of it, in [0, 1]. */
  share: number;
  /** What it counts to; 0: it counts nothing. */
  total: number;
}

/** Phases that a step's own time is made of: they are counted by steps. */
const OF_STEPS = "updating";

/** Newest updates and works of a kind that tell the pace: a machine that others use, too, changes it. */
const RECENT = 50;

/** Works of a kind that tell its time, though they lie further back than those updates: one alone says little. */
const LEAST = 3;

/** A work that took longer than so many times the middle one counts as that: a pause of the machine does not come again each time. */
const LONGEST = 2;

/**
 * Estimates the seconds left from a recipe's events. A phase lasts until the next one or a step; from a step on, the time belongs to the
 * updates.
 *
 * Phases without a count (loading) do not come again.
 */
export class TimeLeft {
  readonly #kinds = new Map<string, Kind>();
  #open?: Open;
  /** Of the updates. */
  #seconds = 0;
  /** What the updates had taken at the end of each of the newest ones, and how far the training was. */
  readonly #ends: { seconds: number; position: number }[] = [];
  #first?: number;
  #position = 0;
  #total = 0;

  /** now: seconds on any clock that goes on evenly. */
  see(event: Event, now: number): void {
    if (event.type === "phase") this.#phase(event, now);
    else if (event.type === "step") this.#step(event, now);
  }

  /** Undefined until every kind of work that is to come has been seen. */
  secondsLeft(now: number): number | undefined {
    if (this.#first === undefined || this.#position <= this.#first) return undefined;
    let left = 0;
    for (const [name, { took, total, left: more }] of this.#kinds) {
      const open = this.#open?.name === name ? this.#open : undefined;
      const spent = open ? now - open.began : 0;
      // One that counts further takes longer, as a last measurement with more pairs.
      const each =
        took.length > 0 ? this.#usual(took) * total : open && open.share > 0 ? spent / open.share : 0;
      // After what is counted of it something may follow, as scoring follows drawing.
      left += more * each + (open ? Math.max(each * (1 - open.share), each - spent, 0) : 0);
    }
    // From the end of the first update on: it also chooses kernels and gets memory, and may take ten times as long.
    const [begin] = this.#ends.length > 1 ? this.#ends : [{ seconds: 0, position: this.#first }];
    const { seconds, position } = begin as { seconds: number; position: number };
    return left + ((this.#total - this.#position) * (this.#seconds - seconds)) / (this.#position - position);
  }

  #phase({ name, done, total, left = 0 }: Event & { type: "phase" }, now: number): void {
    const kind = name === OF_STEPS ? undefined : name;
    if (!this.#open || this.#open.name !== kind) {
      this.#close(now);
      this.#open = { name: kind, began: now, share: 0, total };
    }
    if (kind === undefined) return;
    this.#kinds.set(kind, { took: this.#kinds.get(kind)?.took ?? [], total, left });
    if (total > 0) Object.assign(this.#open, { share: done / total, total });
  }

  /** Ends what was open, and books its time: all of a work, also of one so short that nothing was told of it but its beginning. */
  #close(now: number): void {
    if (!this.#open) return;
    const { name, began, total } = this.#open;
    this.#open = undefined;
    const kind = name === undefined ? undefined : this.#kinds.get(name);
    if (name === undefined) this.#seconds += now - began;
    else if (kind && total > 0) {
      const work = { position: this.#position, seconds: (now - began) / total };
      this.#kinds.set(name, { ...kind, took: [...kind.took, work].slice(-RECENT) });
    }
  }

  /** Seconds for each part of a work's count, by those that are as new as the updates that tell the pace. */
  #usual(took: readonly Work[]): number {
    const since = this.#ends.length > RECENT ? (this.#ends[0]?.position ?? 0) : 0;
    const recent = took.filter(({ position }) => position >= since);
    return usual((recent.length < LEAST ? took.slice(-LEAST) : recent).map(({ seconds }) => seconds));
  }

  #step({ step, total, metrics }: Event & { type: "step" }, now: number): void {
    // A resumed training does not start at 0. Where nothing told when the first update began, time is counted from its end on.
    const isTold = this.#open !== undefined && this.#open.name === undefined;
    this.#close(now);
    this.#position = (metrics.progress ?? step / total) * total;
    this.#total = total;
    const began = metrics.progress === undefined ? step - 1 : Math.ceil(this.#position) - 1;
    this.#first ??= isTold ? began : this.#position;
    this.#open = { began: now, share: 0, total: 0 };
    this.#ends.push({ seconds: this.#seconds, position: this.#position });
    if (this.#ends.length > RECENT + 1) this.#ends.shift();
  }
}

/** Mean without the weight of those that took much longer than the middle one. */
function usual(took: readonly number[]): number {
  const most = LONGEST * ([...took].sort((a, b) => a - b)[took.length >> 1] as number);
  return mean(took.map((seconds) => Math.min(seconds, most)));
}
