// Checkpoints are written by a thread of their own, so that the training goes on meanwhile.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads";
import { hasRoomForThread, UserError, type UserErrorCode, workerFile } from "@spo/torch/files";
import { type CheckpointFiles, type CheckpointPlace, fillCheckpoint } from "./write-checkpoint.js";

/** What the thread is asked to write. */
export interface CheckpointTask {
  place: CheckpointPlace;
  files: CheckpointFiles;
}

/** What it answers: nothing, or the fault. */
export interface CheckpointAnswer {
  fault?: { message: string; user?: { code: UserErrorCode; hint?: string } };
}

/** What it is started with. signals: whether it has started, and how many answers it has given. */
export interface CheckpointThreadData {
  port: MessagePort;
  signals: Int32Array;
}

/** Places in `signals`. */
export const STARTED = 0;
export const ANSWERS = 1;

/** A thread that has not started by then never does. */
const START_MS = 60_000;
/** A copy of the state may take this part of the memory that is free. */
const MOST_OF_MEMORY = 0.5;

/**
 * Writes checkpoints, one at a time. The files are copied when a task begins, so what is trained may change at once.
 *
 * Where there is no memory for the copy, or no room for a thread, it writes before it returns. Nothing here needs the event loop, which a
 * step of a training may hold for minutes.
 */
export class CheckpointThread {
  #port?: MessagePort;
  #worker?: Worker;
  #failure?: Error;
  readonly #signals = new Int32Array(new SharedArrayBuffer(8));
  /** answers: how many there were before. */
  #task?: { place: CheckpointPlace; answers?: number };

  /** Begins to write a checkpoint under a temporary name, as `fillCheckpoint`. The one before must be finished. */
  begin(place: CheckpointPlace, files: CheckpointFiles): void {
    const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
    if (bytes > MOST_OF_MEMORY * process.availableMemory() || !hasRoomForThread()) {
      fillCheckpoint(place, files);
      this.#task = { place };
      return;
    }
    const copied = Object.entries(files).map(
      ([name, file]) => [name, { bytes: file.bytes, chunks: [...file.chunks] }] as const,
    );
    this.#task = { place, answers: Atomics.load(this.#signals, ANSWERS) };
    const task: CheckpointTask = { place, files: Object.fromEntries(copied) };
    // Moved to the thread, not copied once more; a chunk that is a part of something larger is copied.
    const moved = copied.flatMap(([, { chunks }]) =>
      chunks.flatMap(({ buffer, byteLength }) =>
        buffer.byteLength === byteLength ? [buffer as ArrayBuffer] : [],
      ),
    );
    this.#started().postMessage(task, moved);
  }

  /**
   * The checkpoint that has been written since the last call, and still has its temporary name. wait: until the one at work is written.
   *
   * Throws what the writing threw, a UserError (`RESOURCE`) where the disk is full or refuses.
   */
  finish({ wait }: { wait: boolean }): CheckpointPlace | undefined {
    if (this.#task === undefined) return undefined;
    const { place, answers } = this.#task;
    if (answers !== undefined && Atomics.load(this.#signals, ANSWERS) === answers) {
      if (this.#failure) throw this.#failure;
      if (!wait) return undefined;
      this.#wait(answers);
    }
    this.#task = undefined;
    const { fault } = answers === undefined ? {} : this.#answer();
    if (fault?.user) throw new UserError(fault.message, fault.user);
    if (fault) throw new Error(fault.message);
    return place;
  }

  /** Ends the thread; what it is writing is lost. */
  close(): void {
    this.#port?.close();
    void this.#worker?.terminate();
  }

  #started(): MessagePort {
    if (this.#port) return this.#port;
    const { port1, port2 } = new MessageChannel();
    const workerData: CheckpointThreadData = { port: port2, signals: this.#signals };
    this.#worker = new Worker(workerFile(new URL("./checkpoint-worker.js", import.meta.url)), {
      workerData,
      transferList: [port2],
    });
    this.#worker.once("error", (error) => {
      this.#failure = error;
    });
    this.#worker.unref();
    port1.unref();
    this.#port = port1;
    return port1;
  }

  #wait(answers: number): void {
    while (Atomics.wait(this.#signals, ANSWERS, answers, START_MS) === "timed-out")
      if (Atomics.load(this.#signals, STARTED) === 0)
        throw new UserError("The thread that writes checkpoints does not start.", {
          code: "RESOURCE",
          hint: "`ulimit -u` and `ulimit -v` tell how many threads and how much address space this process may have.",
        });
  }

  #answer(): CheckpointAnswer {
    return (this.#port && receiveMessageOnPort(this.#port)?.message) as CheckpointAnswer;
  }
}
