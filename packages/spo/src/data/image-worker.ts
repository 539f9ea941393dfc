// Decodes, resizes and looks at images in a thread of its own, so that a training step on the main thread does not wait for them.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import sharp, { type Sharp } from "sharp";

/** The filter of a resize. */
export type Kernel = "bicubic" | "bilinear";

export type ImageTask =
  /** Short side to `side`, centre crop, RGB bytes. */
  | { kind: "pixels"; images: (Uint8Array | string)[]; side: number; kernel: Kernel; mirrored: boolean[] }
  /** Decodes whole, keeps what can be told of it. */
  | { kind: "inspect"; images: (Uint8Array | string)[] };

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
/** No image of a preference set is larger; a file that says so wants to fill the memory. */
const MOST_PIXELS = 100_000_000;

sharp.concurrency(1); // the pool is the parallelism
sharp.cache(false); // no image comes twice in a row

const open = (encoded: Uint8Array): Sharp => sharp(encoded, { limitInputPixels: MOST_PIXELS }).autoOrient();

async function pixels(
  encoded: Uint8Array,
  { side, kernel }: { side: number; kernel: Kernel },
  mirrored: boolean,
): Promise<Pixels> {
  const image = open(encoded);
  const { autoOrient } = await image.metadata();
  const { width, height } = autoOrient;
  // As torchvision: the long side is cut down to a whole number, the crop's corner rounded half to even.
  const short = Math.min(width, height);
  const resized = {
    width: width === short ? side : Math.floor((side * width) / short),
    height: height === short ? side : Math.floor((side * height) / short),
  };
  let out = image.flatten({ background: "white" }).toColourspace("srgb");
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

function halfToEven(value: number): number {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

async function inspect(encoded: Uint8Array): Promise<Inspection> {
  const image = open(encoded);
  const { autoOrient, format } = await image.metadata();
  await image.raw().toBuffer(); // every pixel: a header alone says nothing about the rest
  return { ...autoOrient, format, hash: createHash("sha256").update(encoded).digest("hex") };
}

parentPort?.on("message", async ({ id, task }: { id: number; task: ImageTask }) => {
  const moved = new Set<ArrayBuffer>();
  const images = await Promise.all(
    task.images.map(async (image, i) => {
      try {
        const encoded = typeof image === "string" ? readFileSync(image) : image;
        if (encoded.byteLength === 0) throw new Error("it is empty");
        if (task.kind === "inspect") return { result: await inspect(encoded) };
        const result = await pixels(encoded, task, task.mirrored[i] === true);
        if (result.byteLength === result.buffer.byteLength) moved.add(result.buffer as ArrayBuffer);
        return { result };
      } catch (error) {
        return { fault: (error as Error).message.split("\n")[0] as string };
      }
    }),
  );
  parentPort?.postMessage({ id, images } satisfies ImageAnswer, [...moved]);
});
