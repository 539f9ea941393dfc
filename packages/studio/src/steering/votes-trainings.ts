// Trainings on the votes of a set. Each has a folder with the next number, and the diffusion model goes on from the last one that ended.
import { existsSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { VotesTraining } from "../api.js";
import type { FoundRun } from "../runs/find-runs.js";
import type { Job, JobQueue } from "./job-queue.js";

const KIND = "train votes";

/** Starts `spo train votes` by the queue. */
export class VotesTrainings {
  readonly #root: string;
  readonly #queue: JobQueue;
  readonly #options: readonly string[];

  /** root: the folder of the runs. options: those of `spo train votes` but `--run` and `--from`. */
  constructor(root: string, queue: JobQueue, options: readonly string[]) {
    this.#root = root;
    this.#queue = queue;
    this.#options = options;
  }

  /** What the next training on a set would be, and what became of those before. */
  of(set: FoundRun): VotesTraining {
    let n = 1;
    let from: string | undefined;
    for (; this.#queue.has(this.#runOf(set, n)); n++)
      if (existsSync(join(this.#root, this.#runOf(set, n), "spo", "model"))) from = this.#runOf(set, n);
    const jobs = this.#queue.list().filter(({ kind, words }) => kind === KIND && words[0] === set.folder);
    return { next: this.#runOf(set, n), from, jobs };
  }

  /** Puts the next one into the queue. votes: how many there are. anew: whether it begins with the base. Throws as `JobQueue.add`. */
  start(set: FoundRun, votes: number, anew: boolean): Job {
    const { next, from } = this.of(set);
    const goesOn = from === undefined || anew ? [] : ["--from", join(this.#root, from)];
    const device = this.#options.findLast((word) => word.startsWith("device="))?.slice("device=".length);
    const words = [set.folder, ...this.#options, ...goesOn];
    return this.#queue.addWords({ kind: KIND, run: next, words, device: device ?? "cpu", votes });
  }

  /** Beside the set. */
  #runOf({ folder }: FoundRun, n: number): string {
    return relative(this.#root, join(dirname(folder), `${basename(folder)}-trained-${n}`));
  }
}
