// Decodes, resizes and looks at images in a thread of its own, so that a training step on the main thread does not wait for them.
import { createHash } from "node:crypto";
import { parentPort, workerData } from "node:worker_threads";
import { halfToEven } from "@spo/torch/rounding";
import sharp from "sharp";
import { bytesOfImage } from "./image-bytes.js";
import { type OpenImage, openImage, PIXELS_IN_FLIGHT } from "./open-image.js";
import type { EncodedImage } from "./preference.js";

/** The filter of a resize. */
export type Kernel = "bicubic" | "bilinear";

export type ImageTask =
  /** Short side to `side`, centre crop, RGB bytes. */
  | { kind: "pixels"; images: EncodedImage[]; side: number; kernel: Kernel; mirrored: boolean[] }
  /** Decodes whole, keeps what can be told of it. */
  | { kind: "inspect"; images: EncodedImage[] };

/** side·side·3 bytes. */
export type Pixels = Uint8Array;

/** What can be told of an image that decodes; sides in pixels. */
export interface Inspection {
  width: number;
  height: number;
  format: string;
  /** SHA-256 of the encoded bytes, hexadecimal. */
  hash: string;
}

export type ImageAnswer = { id: number; images: ({ result: Pixels | Inspection } | { fault: string })[] };

/** As PIL resizes: Catmull-Rom is its bicubic, and both take the mean over what a smaller pixel covers. */
const KERNELS = { bicubic: "cubic", bilinear: "linear" } as const;

sharp.concurrency(1); // the pool is the parallelism
sharp.cache(false); // no image comes twice in a row

/** Pixels that all threads of the pool have in flight. */
const inFlight = new Int32Array(workerData as SharedArrayBuffer);

/** Waits until there is room for so many pixels, and takes it. A thread has one image at a time: it holds nothing while it waits. */
function take(pixels: number): void {
  for (;;) {
    const held = Atomics.load(inFlight, 0);
    if (held > 0 && held + pixels > PIXELS_IN_FLIGHT) Atomics.wait(inFlight, 0, held, 1000);
    else if (Atomics.compareExchange(inFlight, 0, held, held + pixels) === held) return;
  }
}

function giveBack(pixels: number): void {
  Atomics.sub(inFlight, 0, pixels);
  Atomics.notify(inFlight, 0);
}

async function pixels(
  image: OpenImage,
  { side, kernel }: { side: number; kernel: Kernel },
  mirrored: boolean,
): Promise<Pixels> {
  const { width, height } = image;
  // As torchvision: the long side is cut down to a whole number, the crop's corner rounded half to even.
  const short = Math.min(width, height);
  const resized = {
    width: width === short ? side : Math.floor((side * width) / short),
    height: height === short ? side : Math.floor((side * height) / short),
  };
  let out = await image.decoded();
  if (short !== side)
    out = out.resize({ ...resized, fit: "fill", kernel: KERNELS[kernel], fastShrinkOnLoad: false });
  if (resized.width !== resized.height)
    out = out.extract({
      left: halfToEven((resized.width - side) / 2),
      top: halfToEven((resized.height - side) / 2),
      width: side,
      height: side,
    });
  if (mirrored) out = out.flop();
  const { data, info } = await out.removeAlpha().raw().toBuffer({ resolveWithObject: true });
  if (info.channels !== 3 || data.byteLength !== 3 * side * side)
    throw new Error(`it came out as ${info.width}×${info.height}×${info.channels}`);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

async function inspect(image: OpenImage, encoded: Uint8Array): Promise<Inspection> {
  const { width, height, format } = image;
  // Every pixel, as a header alone says nothing about the rest; but not all of them in memory.
  await (await image.decoded())
    .resize({ width: 8, height: 8, fit: "fill", fastShrinkOnLoad: false })
    .raw()
    .toBuffer();
  return { width, height, format, hash: createHash("sha256").update(encoded).digest("hex") };
}

async function answer(image: EncodedImage, place: number, task: ImageTask): Promise<Pixels | Inspection> {
  const encoded = bytesOfImage(image);
  const opened = await openImage(encoded);
  const count = opened.width * opened.height;
  take(count);
  try {
    return task.kind === "inspect"
      ? await inspect(opened, encoded)
      : await pixels(opened, task, task.mirrored[place] === true);
  } finally {
    giveBack(count);
  }
}

let last: Promise<void> = Promise.resolve();

parentPort?.on("message", ({ id, task }: { id: number; task: ImageTask }) => {
  last = last.then(async () => {
    const moved = new Set<ArrayBuffer>();
    const images: ImageAnswer["images"] = [];
    for (const [place, image] of task.images.entries()) {
      try {
        const result = await answer(image, place, task);
        images.push({ result });
        if (result instanceof Uint8Array && result.byteLength === result.buffer.byteLength)
          moved.add(result.buffer as ArrayBuffer);
      } catch (error) {
        const { message } = error as Error;
        images.push({
          fault: (message.split("\n")[0] as string).replace(/^.* cannot be read: /, "it cannot be read: "),
        });
      }
    }
    parentPort?.postMessage({ id, images } satisfies ImageAnswer, [...moved]);
  });
});
