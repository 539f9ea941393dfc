import type { JobProgress } from "./jobs.js";

/** How far a comparison is: a job's weight is its seconds of training, or its images' guessed ones. */
export class ComparisonProgress {
  readonly total: number;
  readonly #parts = new Map<string, number>();

  constructor(total: number) {
    this.total = total;
  }

  /** share: of a job's weight, when it is not done. */
  report(job: string, weight: number, { done, total }: Pick<JobProgress, "done" | "total">): void {
    this.#parts.set(job, total > 0 ? (weight * done) / total : 0);
  }

  finish(job: string, weight: number): void {
    this.#parts.set(job, weight);
  }

  get done(): number {
    return [...this.#parts.values()].reduce((a, b) => a + b, 0);
  }
}
