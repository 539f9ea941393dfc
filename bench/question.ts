// What a benchmark is. The runner (scripts/bench.mjs) gives each side a process of its own and lets them work by turns.
import type { Device } from "@spo/torch";

/** One thing that is timed, on both sides under the same name. */
export interface Case {
  name: string;
  /** What goes in, for the record: `latents [8, 4, 16, 16], context [8, 12, 128]`. */
  shapes: string;
  /** How many times the work is done in one `run`: times are recorded per unit. Default 1. */
  units?: number;
  /** Rounds where that is not the runner's own choice: for cases that take many seconds. */
  rounds?: number;
  /** What ours may cost, as a part of the peer's. */
  target?: Target;
  /** What our peak of memory may be, as a part of the peer's, where that is aimed at too. */
  peak?: number;
  run(): void | Promise<void>;
  /** Numbers that must agree with the peer's, computed outside of the timed part. */
  result?(): number[];
  /** Largest difference of the results, as a part of the largest number. Default 1e-4. */
  tolerance?: number;
  /** Further measurements of our side alone, after the last round: counts, live tensors. */
  facts?(): Record<string, number> | Promise<Record<string, number>>;
  /** The most that a fact may be. */
  limits?: Record<string, number>;
}

export interface Target {
  /** cpu: seconds of all threads; wall: on the clock; memory: peak resident bytes. */
  of: "cpu" | "wall" | "memory";
  /** At most this part of the peer's. */
  ratio: number;
}

export interface Question {
  /** In words, with a question mark. */
  question: string;
  /** What the peer does, as exactly as it takes to judge the comparison. Absent: there is none, ours is measured alone. */
  peer?: string;
  /**
   * Models of full size: runs only when it is named, and each case in processes of its own. The peak of a case then holds the loading, and
   * a process that has done it once is warm.
   */
  large?: boolean;
  /** It can be asked of a GPU, by `--device`; the others are of the CPU alone. */
  anyDevice?: boolean;
  /** Writes what both sides read: weights and inputs of the cases that are asked. Runs once, in a process that is not measured. */
  prepare(folder: string, isAsked: (name: string) => boolean): void | Promise<void>;
  /** Loads that onto the device and gives the cases. */
  cases(folder: string, device: Device): Case[];
}
