import { readFileSync, statSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { requireThread, UserError, workerFile } from "@spo/torch/files";
import type { ParquetAnswer, ParquetFile, ParquetRequest, ParquetRows } from "./parquet-worker.js";

/** Limits of the thread that parses parquet, because a damaged file can make a parser spin. */
export interface ParquetReaderOptions {
  /** Seconds of its own processor time that one row group may take. Default: what a file of that size can need, `secondsFor`. */
  seconds?: number;
  /** Seconds without an answer after which the computer is said to be too busy, whatever the file is. */
  patience?: number;
  /** Bytes that one row group may read and unpack, and about half of that again for the parser's own objects. */
  memory?: number;
}

/**
 * Reads parquet files in a thread of its own, within limits of processor time and memory: a damaged file is an error, never a hang.
 *
 * Requests are done one after the other. Throws UserErrors that name the file: `DATA` for what is wrong with it, `RESOURCE` where the
 * computer has too little memory or time, which says nothing against the file.
 */
export class ParquetReader {
  readonly #seconds: number | undefined;
  readonly #patience: number;
  readonly #memory: number;
  #worker: Worker | undefined;
  #isReady = false;
  #thread: string | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ seconds, patience = 3600, memory = 1 << 30 }: ParquetReaderOptions = {}) {
    this.#seconds = seconds;
    this.#patience = patience;
    this.#memory = memory;
  }

  async open(path: string): Promise<ParquetFile> {
    let found: ReturnType<typeof statSync>;
    try {
      found = statSync(path, { throwIfNoEntry: false });
    } catch (error) {
      throw new UserError(`${path} cannot be read: ${(error as Error).message}.`, {
        code: "DATA",
        cause: error,
      });
    }
    if (!found) throw new UserError(`${path} does not exist.`, { code: "DATA" });
    if (!found.isFile()) throw new UserError(`${path} is no file.`, { code: "DATA" });
    return (await this.#ask({ kind: "open", path })) as ParquetFile;
  }

  /** Rows [rowStart, rowEnd). Binary columns come as bytes, the others as text, numbers, booleans and lists and records of those. */
  async read(request: Omit<ParquetRequest & { kind: "read" }, "kind">): Promise<ParquetRows> {
    return (await this.#ask({ kind: "read", ...request })) as ParquetRows;
  }

  async close(): Promise<void> {
    await this.#last.catch(() => {});
    await this.#worker?.terminate();
  }

  #ask(request: ParquetRequest): Promise<ParquetFile | ParquetRows> {
    const answer = this.#last.then(
      () => this.#answer(request),
      () => this.#answer(request),
    );
    this.#last = answer;
    return answer;
  }

  async #answer(request: ParquetRequest): Promise<ParquetFile | ParquetRows> {
    const worker = this.#started();
    const { path } = request;
    const seconds = this.#seconds ?? secondsFor(statSync(path, { throwIfNoEntry: false })?.size ?? 0);
    const fault = (why: string): UserError =>
      new UserError(`${path} is not a whole parquet file: ${why}.`, {
        code: "DATA",
        hint: "Get the file again, or leave it out.",
      });
    const tooLarge = (why: string): UserError =>
      new UserError(`${path}: ${why}.`, {
        code: "DATA",
        hint: "It is damaged, or its row groups are too large: write it again with smaller ones.",
      });
    const shortage = (why: string): UserError =>
      new UserError(`${path} could not be read: ${why}. That says nothing against the file.`, {
        code: "RESOURCE",
        hint: "Give the process more memory and address space (ulimit -v) or a less busy computer, and try again.",
      });
    const listening = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    worker.ref();
    try {
      return await new Promise<ParquetFile | ParquetRows>((resolve, reject) => {
        const on = <T>(event: string, act: (value: T) => void): void => {
          worker.on(event, act);
          listening.signal.addEventListener("abort", () => worker.off(event, act));
        };
        const begin = (): void => {
          this.#isReady = true;
          const [began, before] = [performance.now(), processorSeconds(this.#thread)];
          const look = async (): Promise<void> => {
            const spent = (processorSeconds(this.#thread) ?? Number.NaN) - (before ?? Number.NaN);
            const isSpinning = spent > seconds;
            const isLate = performance.now() - began > 1000 * this.#patience;
            // A training step may have held this thread all the while: an answer that came in time is still in the queue.
            if (isSpinning || isLate) await setImmediate();
            if (listening.signal.aborted) return;
            if (!isSpinning && !isLate) {
              timer = setTimeout(look, LOOK);
              return;
            }
            this.#forget(worker);
            reject(
              isSpinning
                ? tooLarge(`its reader has computed for ${seconds} s on one row group without an end`)
                : shortage(`no answer came within ${this.#patience} s`),
            );
            await worker.terminate();
          };
          timer = setTimeout(look, Math.min(LOOK, 1000 * Math.min(seconds, this.#patience)));
          worker.postMessage(request);
        };
        on("message", (answer: ParquetAnswer) => {
          if ("ready" in answer) {
            this.#thread = answer.thread;
            begin();
          } else if ("fault" in answer)
            reject(answer.isShortage ? shortage(answer.fault) : fault(answer.fault));
          else resolve(answer.result);
        });
        on("error", ({ code, message }: NodeJS.ErrnoException) =>
          reject(
            code === "ERR_WORKER_OUT_OF_MEMORY"
              ? tooLarge(`one row group needs more than ${Math.round(this.#memory / 2 ** 20)} MB`)
              : shortage(message),
          ),
        );
        on("exit", (code: number) => reject(shortage(`its reader ended (exit code ${code})`)));
        if (this.#isReady) begin(); // else it begins when the thread is up: that time is not the file's
      });
    } finally {
      clearTimeout(timer);
      listening.abort();
      worker.unref();
    }
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    requireThread();
    const worker = new Worker(workerFile(new URL("./parquet-worker.js", import.meta.url)), {
      workerData: { bytes: this.#memory },
      resourceLimits: { maxOldGenerationSizeMb: Math.max(64, Math.ceil(this.#memory / 2 ** 21)) },
    });
    worker.on("error", () => this.#forget(worker));
    worker.on("exit", () => this.#forget(worker));
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #forget(worker: Worker): void {
    if (this.#worker === worker) [this.#worker, this.#isReady, this.#thread] = [undefined, false, undefined];
  }
}

/**
 * Processor seconds that a row group of a file of so many bytes may take: two, in which a small one is read a hundred times, and one for
 * each 10 MB, which is a tenth of the speed that it is unpacked with; a minute at most.
 */
export const secondsFor = (bytes: number): number => Math.min(60, 2 + Math.ceil(bytes / 1e7));

/** Milliseconds between two looks at a thread that has not answered. */
const LOOK = 200;

/** Linux counts a thread's time in hundredths of a second. */
const TICKS = 100;

/** Processor seconds of a thread, from the file in which Linux tells of it; undefined elsewhere. Source: proc(5), fields 14 and 15. */
function processorSeconds(file: string | undefined): number | undefined {
  if (file === undefined) return undefined;
  try {
    const fields = readFileSync(file, "latin1").split(") ").at(-1)?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  } catch {
    return undefined; // it has just ended
  }
}
