import { existsSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { UserError } from "@spo/torch/files";
import type { ParquetAnswer, ParquetFile, ParquetRequest, ParquetRows } from "./parquet-worker.js";
import { workerFile } from "./worker-file.js";

/** Limits of the thread that parses parquet, because a damaged file can make a parser spin. */
export interface ParquetReaderOptions {
  /** Seconds that one row group may take. */
  seconds?: number;
  /** Bytes that one row group may read and unpack, and about half of that again for the parser's own objects. */
  memory?: number;
}

/**
 * Reads parquet files in a thread of its own, within limits of time and memory: a damaged file is an error, never a hang.
 *
 * Requests are done one after the other. Throws UserErrors (`DATA`) that name the file.
 */
export class ParquetReader {
  readonly #milliseconds: number;
  readonly #memory: number;
  #worker: Worker | undefined;
  #isReady = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ seconds = 60, memory = 1 << 30 }: ParquetReaderOptions = {}) {
    this.#milliseconds = seconds * 1000;
    this.#memory = memory;
  }

  async open(path: string): Promise<ParquetFile> {
    if (!existsSync(path)) throw new UserError(`${path} does not exist.`, { code: "DATA" });
    return (await this.#ask({ kind: "open", path })) as ParquetFile;
  }

  /** Rows [rowStart, rowEnd). `binary` columns come as bytes, the others as text, numbers and booleans. */
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
    const fault = (why: string): UserError =>
      new UserError(`${request.path} is not a whole parquet file: ${why}.`, {
        code: "DATA",
        hint: "Get the file again, or leave it out.",
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
          timer = setTimeout(expire, this.#milliseconds);
          worker.postMessage(request);
        };
        const expire = async (): Promise<void> => {
          // A training step may have held this thread all the while: an answer that came in time is still in the queue.
          await setImmediate();
          if (listening.signal.aborted) return;
          this.#forget(worker);
          reject(fault(`nothing came out of it within ${this.#milliseconds / 1000} s`));
          await worker.terminate();
        };
        on("message", (answer: ParquetAnswer) => {
          if ("ready" in answer) begin();
          else if ("fault" in answer) reject(fault(answer.fault));
          else resolve(answer.result);
        });
        on("error", ({ code, message }: NodeJS.ErrnoException) =>
          reject(fault(code === "ERR_WORKER_OUT_OF_MEMORY" ? "it asks for too much memory" : message)),
        );
        on("exit", () => reject(fault("its reader died")));
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
    const worker = new Worker(workerFile("parquet-worker"), {
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
    if (this.#worker === worker) [this.#worker, this.#isReady] = [undefined, false];
  }
}
