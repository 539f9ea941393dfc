import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { ImagePool } from "./image-pool.js";
import {
  openPairSet,
  PairLoader,
  type PairLoaderOptions,
  type PreferencePair,
  readRows,
  writeParquetPairs,
} from "./index.js";

const folder = mkdtempSync(join(tmpdir(), "spo-loader-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "pairs.parquet");
const COUNT = 23;

/** Left half of one grey, right half of another: a mirrored one can be told. */
const halves = async (left: number, right: number, width = 8, height = 8): Promise<Uint8Array> =>
  new Uint8Array(
    await sharp(
      Uint8Array.from({ length: width * height }, (_, i) => (i % width < width / 2 ? left : right)),
      {
        raw: { width, height, channels: 1 },
      },
    )
      .png()
      .toBuffer(),
  );

const facts = { labelled: true, different: true, split: "train" };
async function* pairs(): AsyncGenerator<PreferencePair> {
  for (let i = 0; i < COUNT; i++)
    yield {
      ...facts,
      prompt: `prompt ${i % 5}`,
      label0: i % 4 === 0 ? 0.5 : 1,
      label1: i % 4 === 0 ? 0.5 : 0,
      image0: await halves(i, 255),
      image1: await halves(100 + i, 255),
    };
  yield {
    ...facts,
    prompt: "same",
    different: false,
    label0: 1,
    label1: 0,
    image0: await halves(0, 0),
    image1: await halves(0, 0),
  };
  yield {
    ...facts,
    prompt: "unjudged",
    labelled: false,
    label0: Number.NaN,
    label1: Number.NaN,
    image0: await halves(0, 0),
    image1: await halves(0, 0),
  };
  yield {
    ...facts,
    prompt: "held",
    split: "test",
    label0: 1,
    label1: 0,
    image0: await halves(7, 9),
    image1: await halves(8, 9),
  };
}
beforeAll(() => writeParquetPairs(path, pairs()));

async function withLoader<T>(
  options: Partial<PairLoaderOptions>,
  use: (loader: PairLoader) => Promise<T>,
  setOptions: Parameters<typeof openPairSet>[1] = { split: "train" },
): Promise<T> {
  const set = await openPairSet(path, setOptions);
  const loader = new PairLoader(set, { seed: 3, side: 8, kernel: "bicubic", workers: 1, ...options });
  try {
    return await use(loader);
  } finally {
    await loader.close();
    await set.close();
  }
}

describe("pairs by position", () => {
  test("are the same in one stride, in small ones, and read from the middle", async () => {
    const whole = await withLoader({}, (loader) => loader.read(0, 2 * COUNT));
    const parts = await withLoader({ aheadBytes: 1, windowBytes: 1 << 30 }, async (loader) => {
      const batches = [];
      for (let at = 20; at < 2 * COUNT; at += 4)
        batches.push(await loader.read(at, Math.min(4, 2 * COUNT - at)));
      return batches;
    });
    expect(parts.flatMap(({ where }) => where)).toEqual(whole.where.slice(20));
    expect(Buffer.concat(parts.map(({ image0 }) => image0))).toEqual(
      Buffer.from(whole.image0.subarray(20 * 192)),
    );
    const [first, second] = [whole.where.slice(0, COUNT), whole.where.slice(COUNT)];
    expect(new Set(first).size).toBe(COUNT);
    expect([...second].sort()).toEqual([...first].sort());
    expect(second).not.toEqual(first);
  });

  test("tell the number of their prompts' pairs without being read", async () => {
    await withLoader({ windowBytes: 200 }, async (loader) => {
      const counts = loader.examples(5, 2 * COUNT);
      expect(counts).toEqual((await loader.read(5, 2 * COUNT)).examples);
      expect(new Set(counts)).toEqual(new Set([4, 5]));
    });
  });

  test("of a set with a limit are spread over it, and come by row as they come by position", async () => {
    const set = await openPairSet(path, { split: "train", limit: 6 });
    const loader = new PairLoader(set, { seed: null, side: 8, kernel: "bicubic", workers: 1 });
    const { where, image0 } = await loader.read(0, 6);
    expect(set.size).toBe(6);
    const rows = where.map((text) => Number(/row (\d+)/.exec(text)?.[1]));
    expect(rows).toEqual([3, 7, 11, 15, 19, 22]);
    const found = await readRows(set, [4, 1, 4], { side: 8, kernel: "bicubic", workers: 1 });
    expect([...found.keys()].sort()).toEqual([1, 4]);
    expect(found.get(4)?.where).toBe(where[4]);
    expect(Buffer.from(found.get(1)?.image0 as Uint8Array)).toEqual(Buffer.from(image0.subarray(192, 384)));
    await loader.close();
    await set.close();
  });

  test("leave out what teaches nothing, and count a prompt's pairs", async () => {
    await withLoader({ seed: null }, async (loader) => {
      expect(loader.size).toBe(COUNT);
      const { prompts, examples, label0 } = await loader.read(0, COUNT);
      expect(prompts.slice(0, 6)).toEqual([0, 1, 2, 3, 4, 0].map((i) => `prompt ${i}`));
      expect(examples.slice(0, 5)).toEqual([5, 5, 5, 4, 4]);
      expect(label0.slice(0, 5)).toEqual([0.5, 1, 1, 1, 0.5]);
    });
    await withLoader({}, async (loader) => expect(loader.size).toBe(COUNT - 6), {
      split: "train",
      dropTies: true,
    });
    await expect(openPairSet(path, { split: "tset" })).rejects.toThrow(
      /no pair of the split tset.*it has 25 of train, 1 of test/,
    );
  });

  test("that another process reads are not decoded ahead, and this one looks as much further", async () => {
    const decoded = vi.spyOn(ImagePool.prototype, "pixels");
    const share = { processes: 2, isMine: (position: number) => position % 4 < 2 };
    const found = await withLoader({ aheadBytes: 4 * 6 * 8 * 8, share }, async (loader) => {
      const batches = [await loader.read(0, 2)];
      expect(decoded).toHaveBeenCalledTimes(6); // 0 and 1; ahead 4, 5, 8 and 9
      batches.push(await loader.read(4, 2));
      expect(decoded).toHaveBeenCalledTimes(8); // ahead 12 and 13 as well
      return batches.flatMap(({ where }) => where);
    });
    decoded.mockRestore();
    const { where } = await withLoader({}, (loader) => loader.read(0, 6));
    expect(found).toEqual([...where.slice(0, 2), ...where.slice(4)]);
  });

  test("are mirrored side by side apart, each about half of the time", async () => {
    const { image0, image1 } = await withLoader({ mirror: true }, (loader) => loader.read(0, 8 * COUNT));
    const isMirrored = (image: Uint8Array, i: number): boolean => image[i * 192] === 255;
    const first = Array.from({ length: 8 * COUNT }, (_, i) => isMirrored(image0, i));
    const second = Array.from({ length: 8 * COUNT }, (_, i) => isMirrored(image1, i));
    for (const side of [first, second, first.map((m, i) => m !== second[i])]) {
      const share = side.filter(Boolean).length / side.length;
      expect(Math.abs(share - 0.5)).toBeLessThan(0.15);
    }
  });
});

describe("an image", () => {
  /** The first pixel row of an image as the loader gives it. */
  const rowOf = async (image: Uint8Array, options: Partial<PairLoaderOptions>): Promise<number[]> => {
    const at = join(folder, `one-${Math.random()}`);
    mkdirSync(at);
    writeFileSync(join(at, "a.png"), image);
    writeFileSync(join(at, "pairs.jsonl"), '{"prompt":"p","images":["a.png","a.png"]}\n');
    const set = await openPairSet(at);
    const loader = new PairLoader(set, { seed: null, side: 4, kernel: "bilinear", workers: 1, ...options });
    try {
      const { image0, side } = await loader.read(0, 1);
      return Array.from({ length: side }, (_, i) => image0[3 * i] as number);
    } finally {
      await loader.close();
      await set.close();
    }
  };

  test("that is wide loses both ends, and one of the right size nothing", async () => {
    expect(await rowOf(await halves(10, 200, 12, 4), {})).toEqual([10, 10, 200, 200]);
    expect(await rowOf(await halves(10, 200, 4, 12), {})).toEqual([10, 10, 200, 200]);
    expect(await rowOf(await halves(10, 200, 4, 4), {})).toEqual([10, 10, 200, 200]);
  });

  test("is made smaller by the mean over what a pixel covers, with the kernel asked for", async () => {
    const row = await halves(0, 255, 8, 8);
    // What PIL 13.0 gives for a row of 0 0 0 0 255 255 255 255 made 4 wide; sharp rounds at another place.
    const off = (ours: number[], pil: number[]): number =>
      Math.max(...ours.map((value, i) => Math.abs(value - (pil[i] as number))));
    expect(off(await rowOf(row, { kernel: "bilinear" }), [0, 32, 223, 255])).toBeLessThanOrEqual(2);
    expect(off(await rowOf(row, { kernel: "bicubic" }), [0, 17, 238, 255])).toBeLessThanOrEqual(2);
  });
});

describe("a damaged set", () => {
  const made = (lines: object[]): string => {
    const at = join(folder, `bad-${Math.random()}`);
    mkdirSync(at);
    writeFileSync(join(at, "pairs.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    return at;
  };

  test("lists all wrong labels and missing prompts with their places, before anything is read", async () => {
    const images = { image_0: "a.png", image_1: "b.png" };
    const error = await openPairSet(
      made([
        { prompt: "p", ...images, label_0: 1.5, label_1: -0.5 },
        { prompt: "p", ...images, label_0: 1, label_1: 0 },
        { prompt: " ", ...images, label_0: 0.5, label_1: 0.4 },
      ]),
    ).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).code).toBe("DATA");
    expect((error as UserError).message).toMatch(
      /3 faults\.\n.*line 1: labels 1\.5 and -0\.5 are not both from 0 to 1\n.*line 3: no prompt\n.*line 3: labels 0\.5 and 0\.4 do not sum to 1/,
    );
  });

  test("lists all broken images of a batch", async () => {
    const at = made([
      { prompt: "p", images: ["a.png", "missing.png"] },
      { prompt: "q", images: ["cut.png", "a.png"] },
    ]);
    const image = await halves(1, 2, 64, 64);
    writeFileSync(join(at, "a.png"), image);
    writeFileSync(join(at, "cut.png"), image.subarray(0, image.length / 2));
    const set = await openPairSet(at);
    const loader = new PairLoader(set, { seed: null, side: 4, kernel: "bicubic", workers: 1 });
    try {
      await expect(loader.read(0, 2)).rejects.toThrow(
        /2 faults\.\n.*line 1, image 1: does not decode: .*missing\.png.*\n.*line 2, image 0: does not decode/,
      );
    } finally {
      await loader.close();
      await set.close();
    }
  });
});
