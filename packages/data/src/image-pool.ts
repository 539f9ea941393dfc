import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { requireThread, UserError, workerFile } from "@spo/torch/files";
import "./image-loaders.js"; // before any thread is started
import type { ImageAnswer, ImageTask, Inspection, Pixels } from "./image-worker.js";
import type { EncodedImage } from "./preference.js";

/** One image's answer: what was asked for, or why it does not decode. */
export type Decoded<T> = { result: T } | { fault: string };

/**
 * Threads that decode images. Tasks are handed over at once, so that decoding goes on while this thread computes.
 *
 * An image that does not decode is a fault in the answer, never an exception.
 */
export class ImagePool {
  readonly #workers: Worker[] = [];
  readonly #size: number;
  /** Pixels that the threads have in flight. */
  readonly #inFlight = new SharedArrayBuffer(4);
  readonly #waiting = new Map<
    number,
    { resolve: (answer: ImageAnswer["images"]) => void; reject: (error: unknown) => void }
  >();
  #next = 0;
  #failure: Error | undefined;

  constructor(size = Math.max(1, Math.min(8, availableParallelism()))) {
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  /** RGB bytes of each image, side·side·3: short side to `side`, centre crop. `mirrored`: one an image. */
  pixels(
    images: readonly EncodedImage[],
    {
      mirrored = images.map(() => false),
      ...options
    }: Pick<ImageTask & { kind: "pixels" }, "side" | "kernel"> & { mirrored?: boolean[] },
  ): Promise<Decoded<Pixels>[]> {
    return this.#ask({ kind: "pixels", images: images.map(posted), mirrored, ...options }) as Promise<
      Decoded<Pixels>[]
    >;
  }

  /** Decodes each image whole and tells its size, format and hash. */
  inspect(images: readonly EncodedImage[]): Promise<Decoded<Inspection>[]> {
    return this.#ask({ kind: "inspect", images: images.map(posted) }) as Promise<Decoded<Inspection>[]>;
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map((worker) => worker.terminate()));
  }

  #ask(task: ImageTask): Promise<ImageAnswer["images"]> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#next++;
    const worker = this.#worker(id % this.#size);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      for (const one of this.#workers) one.ref();
      const moved = task.images.flatMap((image) =>
        image instanceof Uint8Array ? [image.buffer as ArrayBuffer] : [],
      );
      worker.postMessage({ id, task }, moved);
    });
  }

  #worker(index: number): Worker {
    const known = this.#workers[index];
    if (known) return known;
    requireThread();
    // Image bytes lie outside of a thread's heap, which hardly grows: a small young generation makes the collector come in time.
    const worker = new Worker(workerFile(new URL("./image-worker.js", import.meta.url)), {
      workerData: this.#inFlight,
      resourceLimits: { maxYoungGenerationSizeMb: 1 },
    });
    worker.on("message", ({ id, images }: ImageAnswer) => {
      this.#waiting.get(id)?.resolve(images);
      this.#waiting.delete(id);
      // Idle threads do not hold the process.
      if (this.#waiting.size === 0) for (const one of this.#workers) one.unref();
    });
    worker.on("error", (cause: Error) => {
      // Faults of images are answers: what ends a thread is the computer's.
      const error = new UserError(`A thread that decodes images ended: ${cause.message}.`, {
        code: "RESOURCE",
        hint: "Give the process more memory and address space (ulimit -v), and try again.",
        cause,
      });
      this.#failure = error;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
    this.#workers[index] = worker;
    return worker;
  }
}

/** What goes to the thread: a path, or bytes of their own. A view would take its whole row group along. */
const posted = (image: EncodedImage): EncodedImage => (image instanceof Uint8Array ? image.slice() : image);
