import { type ChildProcess, fork } from "node:child_process";
import { workerFile } from "@spo/torch/files";
import type { FromWorker, ToWorker } from "./job-messages.js";
import { faultError } from "./job-messages.js";
import type { Job, JobProgress } from "./jobs.js";

/** Runs jobs in processes of their own, a limited number at a time, in the order of the calls. */
export class JobPool {
  readonly #size: number;
  readonly #threads?: number;
  readonly #signal: AbortSignal;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  readonly #children = new Set<ChildProcess>();
  #failure: unknown;

  /** signal: aborted, running jobs are asked to stop and waiting ones are not begun. */
  constructor({ size, threads, signal }: { size: number; threads?: number; signal: AbortSignal }) {
    this.#size = size;
    this.#threads = threads;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#stopAll(), { once: true });
  }

  /** Resolves when the job is done. After a failure or a stop no further job is begun, and all are rejected with its reason. */
  async run(job: Job, onProgress: (progress: JobProgress) => void = () => {}): Promise<void> {
    if (this.#running >= this.#size) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      this.#throwIfOver();
      await this.#work(job, onProgress);
    } catch (error) {
      this.#failure ??= error;
      this.#stopAll();
      throw error;
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }

  /** Resolves when no process is left. */
  async close(): Promise<void> {
    this.#stopAll();
    await Promise.all(
      [...this.#children].map((child) => new Promise((resolve) => child.once("exit", resolve))),
    );
  }

  #throwIfOver(): void {
    this.#signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #work(job: Job, onProgress: (progress: JobProgress) => void): Promise<void> {
    const threads = this.#threads === undefined ? {} : { OMP_NUM_THREADS: String(this.#threads) };
    const child = fork(workerFile(new URL("./job-worker.js", import.meta.url)), {
      env: { ...process.env, ...threads },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#children.add(child);
    return new Promise((resolve, reject) => {
      let outcome: (() => void) | undefined;
      child.on("message", (message: FromWorker) => {
        if (message.type === "progress") return onProgress(message.progress);
        if (message.type === "done") outcome = resolve;
        else if (message.type === "stopped") outcome = () => reject(this.#signal.reason ?? this.#failure);
        else outcome = () => reject(faultError(message));
        child.disconnect();
      });
      child.on("exit", (code, signal) => {
        this.#children.delete(child);
        if (outcome) outcome();
        else reject(new Error(`A process of the comparison ended unasked (${signal ?? `code ${code}`}).`));
      });
      child.on("error", reject);
      tell(child, { type: "job", job });
    });
  }

  #stopAll(): void {
    for (const child of this.#children) if (child.connected) tell(child, { type: "stop" });
  }
}

/** Errors are ignored: a process that is ending no longer listens. */
const tell = (child: ChildProcess, message: ToWorker): void => void child.send(message, () => {});
