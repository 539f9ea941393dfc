// Estimates the time left of a training: the mean time of each kind of work, times its remaining number.
import type { Event } from "./events.js";

/** One kind of work: sampling of a round, drawing held-out samples, measuring. */
interface Kind {
  /** Spent on those that are over. */
  seconds: number;
  /** How many are over. */
  over: number;
  /** How many more will come after the newest one. */
  left: number;
}

/** A phase that is under way. */
interface Open {
  name: string;
  began: number;
  /** Of it, in [0, 1]. */
  share: number;
}

/** Phases that a step's own time is made of: they are counted by steps. */
const OF_STEPS = "updating";

/** Newest updates whose mean time is taken: a machine that others use, too, changes its pace. */
const RECENT = 50;

/**
 * Estimates the seconds left from a recipe's events. The time between phases belongs to the updates.
 *
 * Phases without a count (loading) end when another event comes, and do not come again.
 */
export class TimeLeft {
  readonly #kinds = new Map<string, Kind>();
  #open?: Open;
  /** Of the updates. */
  #seconds = 0;
  /** What the updates had taken at the end of each of the newest ones, and how far the training was. */
  readonly #ends: { seconds: number; position: number }[] = [];
  #since?: number;
  #first?: number;
  #position = 0;
  #total = 0;

  /** now: seconds on any clock that goes on evenly. */
  see(event: Event, now: number): void {
    if (event.type === "phase" && event.name !== OF_STEPS) this.#phase(event, now);
    else if (event.type === "step") this.#step(event, now);
    else if (event.type === "phase") this.#end(now);
  }

  /** Undefined until every kind of work that is to come has been seen. */
  secondsLeft(now: number): number | undefined {
    if (this.#first === undefined || this.#position <= this.#first) return undefined;
    let left = 0;
    for (const [name, kind] of this.#kinds) {
      const open = this.#open?.name === name ? this.#open : undefined;
      const spent = open ? now - open.began : 0;
      const each = kind.over > 0 ? kind.seconds / kind.over : open && open.share > 0 ? spent / open.share : 0;
      left += kind.left * each + (open ? Math.max(0, each * (1 - open.share)) : 0);
    }
    // From the end of the first update on: it also chooses kernels and gets memory, and may take ten times as long.
    const [begin] = this.#ends.length > 1 ? this.#ends : [{ seconds: 0, position: this.#first }];
    const { seconds, position } = begin as { seconds: number; position: number };
    return left + ((this.#total - this.#position) * (this.#seconds - seconds)) / (this.#position - position);
  }

  #phase({ name, done, total, left = 0 }: Event & { type: "phase" }, now: number): void {
    if (this.#open?.name !== name) {
      this.#end(now);
      this.#book(now);
      this.#open = { name, began: now, share: 0 };
    }
    const kind = this.#kinds.get(name) ?? { seconds: 0, over: 0, left };
    this.#kinds.set(name, { ...kind, left });
    if (total === 0 || !this.#open) return;
    this.#open.share = done / total;
    if (done >= total) this.#end(now);
  }

  /** Closes the open phase; what follows is the updates' time. */
  #end(now: number): void {
    if (!this.#open) return;
    const { name, began, share } = this.#open;
    const kind = this.#kinds.get(name) as Kind;
    if (share > 0)
      this.#kinds.set(name, { ...kind, seconds: kind.seconds + now - began, over: kind.over + 1 });
    this.#open = undefined;
    this.#since = now;
  }

  /** Adds the time since the last phase to the updates'. */
  #book(now: number): void {
    if (this.#since !== undefined && this.#first !== undefined) this.#seconds += now - this.#since;
    this.#since = undefined;
  }

  #step({ step, total, metrics }: Event & { type: "step" }, now: number): void {
    this.#end(now);
    this.#position = (metrics.progress ?? step / total) * total;
    this.#total = total;
    // A resumed training does not start at 0. Where nothing told when the first update began, time is counted from its end on.
    const began = metrics.progress === undefined ? step - 1 : Math.ceil(this.#position) - 1;
    this.#first ??= this.#since === undefined ? this.#position : began;
    this.#book(now);
    this.#since = now;
    this.#ends.push({ seconds: this.#seconds, position: this.#position });
    if (this.#ends.length > RECENT + 1) this.#ends.shift();
  }
}
