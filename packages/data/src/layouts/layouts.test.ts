import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";
import fc from "fast-check";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOfImage } from "../image-bytes.js";
import {
  checkPairs,
  convertPairs,
  type Layout,
  type ModelFilter,
  openPairs,
  type PreferencePair,
  writeFolderPairs,
  writeParquetPairs,
} from "../index.js";
import { csvLine, parseCsv } from "./csv.js";
import { pairsOfRanking } from "./ranking.js";

const folder = mkdtempSync(join(tmpdir(), "spo-layouts-"));
afterAll(() => rmSync(folder, { recursive: true }));
let next = 0;
const fresh = (): string => join(folder, `set-${next++}`);

let images: Uint8Array[];
beforeAll(async () => {
  images = await Promise.all(
    (["png", "jpeg", "webp"] as const).flatMap((format) =>
      [10, 200].map(async (red) => {
        const image = sharp({
          create: { width: 3, height: 2, channels: 3, background: { r: red, g: 9, b: 0 } },
        });
        return new Uint8Array(await image.toFormat(format).toBuffer());
      }),
    ),
  );
});

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

const write = (
  layout: Layout,
  pairs: readonly PreferencePair[],
  at: string,
  harden = false,
): Promise<number> =>
  layout === "parquet"
    ? writeParquetPairs(join(at, "pairs.parquet"), each(pairs), { gapScorers: ["clip"] })
    : writeFolderPairs(layout, at, each(pairs), { harden, gapScorers: ["clip"] });

/** All pairs of a set with their images' bytes. */
async function readAll(path: string) {
  const source = await openPairs(path);
  try {
    const pairs = [];
    for (const block of source.blocks.keys()) {
      for (const { image0, image1, ...facts } of await source.pairs(block))
        pairs.push({
          ...facts,
          image0: Buffer.from(bytesOfImage(image0)).toString("hex"),
          image1: Buffer.from(bytesOfImage(image1)).toString("hex"),
        });
    }
    return { layout: source.layout, pairs };
  } finally {
    await source.close();
  }
}

/** Pairs as the property tests draw them; images by number. */
const drawnPair = fc.record({
  prompt: fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }).filter((text) => text.trim() !== ""),
  label0: fc.oneof(fc.constantFrom(0, 0.5, 1), fc.double({ min: 0, max: 1, noNaN: true })),
  examples: fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined }),
  labelled: fc.boolean(),
  different: fc.boolean(),
  split: fc.constantFrom("train", "test", "validation"),
  kind: fc.option(fc.constantFrom("people", "model"), { nil: undefined }),
  model0: fc.option(fc.constantFrom("flux", "sd 1.5"), { nil: undefined }),
  model1: fc.option(fc.constantFrom("flux", "sd 1.5"), { nil: undefined }),
  seed0: fc.option(fc.nat({ max: 2 ** 40 }), { nil: undefined }),
  seed1: fc.option(fc.nat({ max: 2 ** 40 }), { nil: undefined }),
  gaps: fc.option(fc.record({ clip: fc.double({ noNaN: true, noDefaultInfinity: true }) }), {
    nil: undefined,
  }),
  images: fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 5 })),
});

function pairOf({ images: [a, b], label0, ...rest }: DrawnPair): PreferencePair {
  return {
    ...rest,
    label0: rest.labelled ? label0 : Number.NaN,
    label1: rest.labelled ? 1 - label0 : Number.NaN,
    image0: images[a] as Uint8Array,
    image1: images[b] as Uint8Array,
  };
}
type DrawnPair = typeof drawnPair extends fc.Arbitrary<infer T> ? T : never;

describe("what is written in a layout", () => {
  test.each(["parquet", "jsonl", "csv", "hpd"] as const)(
    "as %s reads back the same, pair by pair",
    async (layout) => {
      await fc.assert(
        fc.asyncProperty(fc.array(drawnPair, { minLength: 1, maxLength: 5 }), async (drawn) => {
          const pairs = drawn.map(pairOf);
          const at = fresh();
          expect(await write(layout, pairs, at)).toBe(pairs.length);
          const read = await readAll(at);
          expect(read.layout).toBe(layout);
          expect(read.pairs).toEqual(
            pairs.map(({ image0, image1, ...facts }) => ({
              ...facts,
              image0: Buffer.from(image0 as Uint8Array).toString("hex"),
              image1: Buffer.from(image1 as Uint8Array).toString("hex"),
            })),
          );
        }),
        { numRuns: layout === "parquet" ? 5 : 15, seed: 7 },
      );
    },
  );

  test("as kohya keeps prompts, splits, and which image won", async () => {
    const facts = { labelled: true, different: true };
    const [a, b] = images as [Uint8Array, Uint8Array];
    const at = fresh();
    await write(
      "kohya",
      [
        { ...facts, prompt: "a cat", label0: 1, label1: 0, split: "train", image0: a, image1: b },
        {
          ...facts,
          prompt: "ein Hund\nim Schnee",
          label0: 0,
          label1: 1,
          split: "train",
          image0: a,
          image1: b,
        },
        { ...facts, prompt: "held", label0: 1, label1: 0, split: "test", image0: b, image1: a },
      ],
      at,
    );
    const { layout, pairs } = await readAll(at);
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
    expect(layout).toBe("kohya");
    expect(pairs).toMatchObject([
      { prompt: "a cat", split: "train", image0: hex(a), image1: hex(b), label0: 1, label1: 0 },
      { prompt: "ein Hund\nim Schnee", split: "train", image0: hex(b), image1: hex(a), label0: 1 },
      { prompt: "held", split: "test", image0: hex(b), image1: hex(a), label0: 1 },
    ]);
  });

  test("as kohya must be a win or a loss, unless soft labels are hardened", async () => {
    const facts = { labelled: true, different: true, prompt: "p", split: "train" };
    const [image0, image1] = images as [Uint8Array, Uint8Array];
    const pairs = [0.5, 0.8, 1].map((label0) => ({ ...facts, label0, label1: 1 - label0, image0, image1 }));
    const at = fresh();
    await expect(write("kohya", pairs, at)).rejects.toThrow(
      /2 faults\.\n.*pair 0: a tie has no winner\n.*pair 1/,
    );
    await expect(readAll(at)).rejects.toThrow(/does not exist/); // nothing was left behind
    expect(await write("kohya", pairs, at, true)).toBe(2);
  });
});

describe("lists made by hand", () => {
  const listing = (name: string, text: string): string => {
    const at = fresh();
    writeFolder(at, { [name]: text });
    return at;
  };

  test("of ranked images become all their pairs, ties included", async () => {
    const jsonl = listing(
      "train.jsonl",
      `${JSON.stringify({ prompt: "p", images: ["a.png", "b.png", "c.png"], ranking: [2, 1, 2] })}\n${JSON.stringify({ caption: "q", images: ["a.png", "b.png"] })}\n`,
    );
    const csv = listing(
      "test.csv",
      'prompt,images,ranking\r\n"p, with comma",a.png|b.png|c.png,2|1|2\r\nq,a.png|b.png,\r\n',
    );
    const labels = [0, 0.5, 1, 1];
    for (const [path, split] of [
      [jsonl, "train"],
      [csv, "test"],
    ] as const) {
      const source = await openPairs(path);
      const pairs = await source.pairs(0);
      expect(pairs.map(({ label0 }) => label0)).toEqual(labels);
      expect(pairs.every((pair) => pair.split === split)).toBe(true);
      expect(pairs[2]).toMatchObject({
        image0: { path: join(path, "b.png") },
        image1: { path: join(path, "c.png") },
      });
    }
  });

  test("as HPD and ImageReward write them are read", async () => {
    const at = listing(
      "test.json",
      JSON.stringify([
        { prompt: "p", image_path: ["a.jpg", "b.jpg", "c.jpg"], rank: [1, 2, 2] },
        { prompt: "q", file_path: ["a.jpg", "b.jpg"], human_preference: [0, 1] },
        { prompt: "r", generations: ["a.jpg", "b.jpg"], ranking: [1, 1] },
      ]),
    );
    const source = await openPairs(at);
    expect((await source.facts(0)).map(({ prompt, label0 }) => [prompt, label0])).toEqual([
      ["p", 1],
      ["p", 1],
      ["p", 0.5],
      ["q", 0],
      ["r", 0.5],
    ]);
  });

  test("name every bad record at once", async () => {
    const at = listing(
      "pairs.jsonl",
      '{"prompt":"p","image_0":"a.png"}\nnot json\n{"prompt":"p","images":["a","b","c"],"ranking":[1]}\n',
    );
    const error = await openPairs(at).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).code).toBe("DATA");
    expect((error as UserError).message).toMatch(
      /3 faults[\s\S]*line 1: .*two images[\s\S]*line 2: no JSON[\s\S]*line 3: 3 images/,
    );
    await expect(openPairs(listing("a.csv", 'prompt,image_0\n"open,x\n'))).rejects.toThrow(/never closes/);
    await expect(openPairs(listing("a.json", "{}"))).rejects.toThrow(/holds no list/);
    await expect(openPairs(listing("a.txt", ""))).rejects.toThrow(/holds no preference pairs/);
    await expect(openPairs(join(folder, "nowhere"))).rejects.toThrow(/does not exist/);
  });
});

test("CSV cells survive quotes, commas and line ends", () => {
  fc.assert(
    fc.property(fc.array(fc.array(fc.string(), { minLength: 2, maxLength: 4 }), { maxLength: 5 }), (rows) => {
      const text = rows.map((cells) => `${csvLine(cells)}\n`).join("");
      expect(parseCsv(text).map(({ cells }) => cells)).toEqual(rows);
    }),
  );
});

test("a ranking of n images has n(n−1)/2 pairs, and turning it round swaps every label", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 6 }), (ranks) => {
      const pairs = [...pairsOfRanking(ranks)];
      expect(pairs).toHaveLength((ranks.length * (ranks.length - 1)) / 2);
      expect([...pairsOfRanking(ranks.map((rank) => -rank))].map(({ label0 }) => 1 - label0)).toEqual(
        pairs.map(({ label0 }) => label0),
      );
    }),
  );
});

test("conversion refuses a set with broken images as a whole, and leaves them out when told to", async () => {
  const at = fresh();
  writeFolder(at, {
    "pairs.jsonl":
      '{"prompt":"p","images":["a.png","b.png"]}\n{"prompt":"","images":["a.png","c.png"]}\n{"prompt":"q","image_0":"a.png","image_1":"b.png","label_0":2,"label_1":0}\n',
    "a.png": images[0] as Uint8Array,
    "b.png": images[1] as Uint8Array,
    "c.png": (images[1] as Uint8Array).slice(0, 40),
  });
  const source = await openPairs(at);
  const output = `${fresh()}.parquet`;
  await expect(convertPairs(source, { to: "parquet", output })).rejects.toThrow(
    /3 faults[\s\S]*line 2: no prompt[\s\S]*line 2: image 1 does not decode[\s\S]*line 3: labels 2 and 0/,
  );
  await expect(openPairs(output)).rejects.toThrow(/does not exist/);
  const { written, skipped } = await convertPairs(source, { to: "parquet", output, skipBroken: true });
  expect([written, skipped.count]).toEqual([1, 3]);
  expect((await readAll(output)).pairs).toMatchObject([{ prompt: "p", label0: 1 }]);
});

test("conversion takes only the pairs of one model, or of some, and refuses to write none", async () => {
  const facts = { labelled: true, different: true, split: "train", label0: 1, label1: 0 };
  const [image0, image1] = images as [Uint8Array, Uint8Array];
  const at = fresh();
  const models = [["x", "x"], ["x", "y"], ["y", "y"], [undefined, "x"]]; // biome-ignore format: a table
  await write(
    "jsonl",
    models.map(([model0, model1], i) => ({ ...facts, prompt: `${i}`, model0, model1, image0, image1 })),
    at,
  );
  const kept = async (filter: ModelFilter): Promise<string[]> => {
    const source = await openPairs(at);
    const output = `${fresh()}.parquet`;
    await convertPairs(source, { to: "parquet", output, ...filter });
    return (await readAll(output)).pairs.map(({ prompt }) => prompt);
  };
  expect(await kept({})).toEqual(["0", "1", "2", "3"]);
  expect(await kept({ sameModel: true })).toEqual(["0", "2"]);
  expect(await kept({ models: ["x", "z"] })).toEqual(["0"]);
  expect(await kept({ models: ["x", "y"] })).toEqual(["0", "1", "2"]);
  await expect(kept({ models: ["z"] })).rejects.toThrow(/There is no pair by z: nothing was written/);
  const report = await checkPairs(await openPairs(at));
  expect(report.models).toEqual({ named: 3, same: 2, pairs: { "x / x": 1, "x / y": 1, "y / y": 1 } });
});

test.each(["jsonl", "json", "csv", "parquet"])(
  "a .%s that is a link to itself or a pipe is refused, and not waited for",
  async (ending) => {
    const at = fresh();
    mkdirSync(at, { recursive: true });
    symlinkSync(`a.${ending}`, join(at, `a.${ending}`));
    await expect(openPairs(at)).rejects.toThrow(UserError);
    rmSync(join(at, `a.${ending}`));
    if (spawnSync("mkfifo", [join(at, `a.${ending}`)]).status === 0)
      await expect(openPairs(at)).rejects.toThrow(UserError);
  },
);

function writeFolder(at: string, files: Record<string, string | Uint8Array>): void {
  mkdirSync(at, { recursive: true });
  for (const [name, data] of Object.entries(files)) writeFileSync(join(at, name), data);
}
