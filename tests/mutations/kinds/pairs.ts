// Preference data: lists, folders and tables, images that a set names, votes.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  Ballot,
  checkPairs,
  faultsOfPair,
  ImagePool,
  isTie,
  openPairs,
  type PairSource,
  ParquetReader,
  readImageSet,
  readPngText,
  readVotes,
  withPngText,
} from "@spo/data";
import { UserError } from "@spo/torch";
import { parquetWriteBuffer } from "hyparquet-writer";
import sharp from "sharp";
import type { Kind, Outcome } from "../kind.js";

const COLOURS = ["#d22", "#2a2", "#22d"];
const PROMPTS = ["red apple", "green, leaf", 'blue "fish"', "yellow sun"];

type Format = "png" | "jpeg" | "webp";
const square = async (colour: string, format: Format = "png"): Promise<Buffer> =>
  sharp({ create: { width: 8, height: 6, channels: 3, background: colour } })
    .toFormat(format)
    .toBuffer();

async function makeImages(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const [i, colour] of COLOURS.entries())
    writeFileSync(join(folder, `${"abc"[i]}.png`), await square(colour));
}

const lines = (records: readonly object[]): string =>
  records.map((record) => `${JSON.stringify(record)}\n`).join("");

/** Every pair of a set, as a training reads it but for the decoding. */
async function readSource(source: PairSource): Promise<void> {
  try {
    for (const block of source.blocks.keys()) {
      for (const facts of await source.facts(block)) {
        faultsOfPair(facts);
        isTie(facts);
      }
      for (const row of (await source.pairs(block)).keys()) source.where(block, row);
    }
  } finally {
    await source.close();
  }
}

const PAIR_WORDS = [
  ...[
    "prompt",
    "caption",
    "text",
    "chosen",
    "rejected",
    "image_0",
    "image_1",
    "jpg_0",
    "jpg_1",
    "label_0",
    "label_1",
    "label",
    "preference",
  ],
  ...[
    "images",
    "image_path",
    "file_path",
    "path1",
    "path2",
    "choice_dist",
    "human_preference",
    "rank",
    "ranking",
    "generations",
    "generations_path",
  ],
  ...[
    "votes_image1",
    "votes_image2",
    "image1",
    "image2",
    "model1",
    "model2",
    "left",
    "right",
    "has_label",
    "are_different",
    "split",
    "train",
    "test",
  ],
  ...[
    "num_example_per_prompt",
    "seed",
    "model",
    "kind",
    "win",
    "lose",
    "tie",
    "true",
    "false",
    "yes",
    "no",
    "0.0",
    "1.0",
    "-1",
    "a.png",
    "../a.png",
    "/dev/zero",
    "file:///a.png",
    "https://a/b.png",
  ],
  ...[";", "\t", "|", '"', '""', "PROMPT", "Label_0"],
];

const list = (name: string, files: Readonly<Record<string, string>>, more: Partial<Kind> = {}): Kind => ({
  name,
  group: "pairs",
  changed: /\.(jsonl?|csv|tsv|txt|caption)$/,
  words: PAIR_WORDS,
  async make(folder) {
    await makeImages(folder);
    for (const [path, text] of Object.entries(files)) writeFileSync(join(folder, path), text);
  },
  async read(folder) {
    await readSource(await openPairs(folder));
  },
  ...more,
});

const record = (prompt: string, i: number) => ({
  ...{
    prompt,
    image_0: "a.png",
    image_1: i % 2 ? "b.png" : "c.png",
    label_0: i % 3 ? 1 : 0.5,
    label_1: i % 3 ? 0 : 0.5,
  },
  ...{
    num_example_per_prompt: 2,
    has_label: true,
    are_different: true,
    split: i % 2 ? "train" : "test",
    kind: "people",
  },
});

const HPD = [
  { prompt: "a", image_path: ["a.png", "b.png"], human_preference: [1, 0] },
  { prompt: "b", file_path: ["a.png", "b.png", "c.png"], rank: [1, 2, 3] },
  { prompt: "c", generations: ["a.png", "b.png"], ranking: [2, 1], split: "test" },
];
const HPD3 = [
  {
    prompt: "a",
    path1: "a.png",
    path2: "b.png",
    choice_dist: [12, 7],
    confidence: 0.9,
    model1: "x",
    model2: "y",
  },
  {
    prompt: "b",
    path1: "c.png",
    path2: "b.png",
    choice_dist: [3, 3],
    confidence: 0.5,
    model1: "x",
    model2: "z",
  },
];

const hash = (digit: string): string => digit.repeat(64);
const VOTES = [
  {
    schema: "spo.vote/1",
    id: "1",
    prompt: "a",
    image_0: hash("a"),
    image_1: hash("b"),
    preference: 1,
    labeller: "x",
    at: "2026-01-01T00:00:00Z",
  },
  {
    schema: "spo.vote/1",
    id: "2",
    prompt: "a",
    image_0: hash("b"),
    image_1: hash("a"),
    preference: 0.5,
    labeller: "y",
  },
  {
    schema: "spo.vote/1",
    id: "3",
    prompt: "b",
    image_0: hash("c"),
    image_1: hash("a"),
    preference: null,
    labeller: "x",
  },
];

async function parquet(folder: string): Promise<void> {
  const images = await Promise.all(COLOURS.map(async (colour) => new Uint8Array(await square(colour))));
  const rows = Array.from({ length: 8 }, (_, i) => i);
  const columns = [
    { name: "caption", data: rows.map((i) => PROMPTS[i % 4] as string), type: "STRING" as const },
    { name: "jpg_0", data: rows.map((i) => images[i % 3] as Uint8Array), type: "BYTE_ARRAY" as const },
    { name: "jpg_1", data: rows.map((i) => images[(i + 1) % 3] as Uint8Array), type: "BYTE_ARRAY" as const },
    { name: "label_0", data: rows.map((i) => [1, 0, 0.5][i % 3] as number), type: "DOUBLE" as const },
    { name: "label_1", data: rows.map((i) => [0, 1, 0.5][i % 3] as number), type: "DOUBLE" as const },
    { name: "num_example_per_prompt", data: rows.map(() => 2), type: "INT32" as const },
    { name: "has_label", data: rows.map(() => true), type: "BOOLEAN" as const },
    { name: "split", data: rows.map((i) => (i < 6 ? "train" : "test")), type: "STRING" as const },
  ];
  for (const [codec, name] of [
    ["UNCOMPRESSED", "plain"],
    ["SNAPPY", "snappy"],
  ] as const)
    writeFileSync(
      join(folder, `${name}.parquet`),
      new Uint8Array(parquetWriteBuffer({ columnData: columns, codec, rowGroupSize: 5 })),
    );
}

let reader: ParquetReader | undefined;
let pool: ImagePool | undefined;
let looks = 0;

const PARQUET = [
  "PAR1",
  "caption",
  "jpg_0",
  "label_0",
  "schema",
  "bytes",
  "path",
  "\x15\x00",
  "\x15\x04",
  "\x19\x1c",
  "\x19\xfc\xff\xff\xff\x0f",
  "\x16\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
  "\x18\x00",
  "\x2c",
  "\x00\x00",
];

/** Reads each image as a check does and as a training does. */
async function lookAt(path: string): Promise<Outcome> {
  pool ??= new ImagePool(1);
  const [inspected] = await pool.inspect([{ path }]);
  const [pixels] = await pool.pixels([{ path }], { side: looks++ % 2 ? 8 : 5, kernel: "bicubic" });
  if (!inspected || !pixels) throw new Error("the pool gave no answer");
  for (const answer of [inspected, pixels]) {
    if (!("fault" in answer)) continue;
    if (answer.fault.trim() === "" || /undefined|Cannot read|is not a function/.test(answer.fault))
      throw new Error(`a fault in words of no use: ${answer.fault}`);
    return "refused";
  }
  return "read";
}

const image = (format: Format, words: readonly string[]): Kind => ({
  name: format,
  group: "images",
  words,
  async make(folder) {
    const name = `image.${format}`;
    const bytes = await sharp({
      create: { width: 16, height: 12, channels: format === "jpeg" ? 3 : 4, background: "#d22" },
    })
      .composite([{ input: await square("#22d"), left: 3, top: 2 }])
      .withExif({ IFD0: { Copyright: "none" } })
      .toFormat(format)
      .toBuffer();
    writeFileSync(join(folder, name), bytes);
  },
  read: (folder) => lookAt(join(folder, `image.${format}`)),
});

export const pairKinds: readonly Kind[] = [
  list("jsonl", {
    "train.jsonl": lines([
      ...PROMPTS.map(record),
      { prompt: "r", images: ["a.png", "b.png", "c.png"], ranking: [1, 2, 2] },
    ]),
  }),
  list("csv", {
    "train.csv": `prompt,image_0,image_1,label_0,label_1,split\n${PROMPTS.map((prompt, i) => `"${prompt.replaceAll('"', '""')}",a.png,b.png,${i % 2},${1 - (i % 2)},train\n`).join("")}`,
  }),
  list("csv-ranking", { "train.csv": "prompt,images,ranking\na,a.png|b.png|c.png,2|1|2\nb,a.png|b.png,\n" }),
  list("hpd", { "train.json": JSON.stringify(HPD) }),
  list("hpd3", { "train.json": JSON.stringify(HPD3) }),
  list(
    "kohya",
    { "x_w.txt": "a red apple\n", "y.txt": "a leaf", "z_l.caption": "the sea" },
    {
      async make(folder) {
        for (const name of ["x", "y", "z"]) {
          writeFileSync(join(folder, `${name}_w.png`), await square("#d22"));
          writeFileSync(join(folder, `${name}_l.png`), await square("#2a2"));
        }
        writeFileSync(join(folder, "x_w.txt"), "a red apple\n");
        writeFileSync(join(folder, "y.txt"), "a leaf");
        writeFileSync(join(folder, "z.txt"), "the sea");
      },
      changed: /(?:)/,
    },
  ),
  list(
    "image-set",
    {
      "images.jsonl": lines([
        { file: "a.png", prompt: "a", seed: 1, image: 0 },
        { file_name: "b.png", text: "b" },
        { path: "c.png", caption: "c" },
      ]),
    },
    {
      read: (folder) => void readImageSet(folder),
    },
  ),
  {
    name: "image-folder",
    group: "pairs",
    words: ["tEXt", "iTXt", "zTXt", "parameters", "spo", "Negative prompt: ", "Steps: "],
    async make(folder) {
      const plain = await square("#d22");
      writeFileSync(
        join(folder, "a.png"),
        withPngText(plain, { spo: JSON.stringify({ prompt: "a", seed: 3 }) }),
      );
      writeFileSync(
        join(folder, "b.png"),
        withPngText(plain, { parameters: "b\nNegative prompt: none\nSteps: 3" }),
      );
      writeFileSync(join(folder, "c.png"), plain);
      writeFileSync(join(folder, "c.txt"), "c");
    },
    read(folder) {
      for (const { path } of readImageSet(folder))
        if (path === "") throw new Error("an image without a path");
    },
  },
  list(
    "votes",
    { "votes.jsonl": lines(VOTES) },
    {
      read(folder) {
        const ballot = new Ballot(readVotes(join(folder, "votes.jsonl")));
        const label = ballot.label0("a", hash("a"), hash("b"));
        if (label !== undefined && !(label >= 0 && label <= 1)) throw new Error(`a label of ${label}`);
      },
    },
  ),
  {
    // One reader for all cases: a thread for each would cost more than all else.
    name: "parquet",
    group: "parquet",
    words: PARQUET,
    share: 15,
    make: parquet,
    async read(folder) {
      reader ??= new ParquetReader();
      for (const name of ["plain", "snappy"]) {
        const path = join(folder, `${name}.parquet`);
        const { columns, rowGroups } = await reader.open(path);
        let rowStart = 0;
        for (const { rows } of rowGroups) {
          // The columns of a file are what the reader says they are.
          await reader.read({
            path,
            columns,
            rowStart,
            rowEnd: rowStart + rows,
            useOffsetIndex: false,
            binary: [],
          } as Parameters<ParquetReader["read"]>[0]);
          rowStart += rows;
        }
      }
    },
  },
  {
    name: "parquet-pairs",
    group: "parquet",
    words: PARQUET,
    make: parquet,
    async read(folder, index) {
      const source = await openPairs(folder);
      if (index % 4 !== 0) await readSource(source);
      else {
        try {
          await checkPairs(source);
        } finally {
          await source.close();
        }
      }
    },
  },
  image("png", ["IHDR", "IDAT", "IEND", "PLTE", "tRNS", "iCCP", "eXIf", "tEXt", "acTL", "<svg", "II*\0"]),
  image("jpeg", [
    "\xff\xd8",
    "\xff\xd9",
    "\xff\xc0",
    "\xff\xc2",
    "\xff\xc4",
    "\xff\xda",
    "\xff\xdb",
    "\xff\xe1",
    "Exif\0\0",
    "JFIF\0",
    "\xff\xff",
  ]),
  image("webp", [
    "RIFF",
    "WEBP",
    "VP8 ",
    "VP8L",
    "VP8X",
    "ALPH",
    "ANIM",
    "ANMF",
    "EXIF",
    "ICCP",
    "\xff\xff\xff\xff",
  ]),
  {
    name: "png-text",
    group: "images",
    words: ["tEXt", "iTXt", "zTXt", "IHDR", "IDAT", "IEND", "__proto__\0", "parameters\0"],
    async make(folder) {
      writeFileSync(
        join(folder, "image.png"),
        withPngText(await square("#d22"), { parameters: "a cat\nSteps: 20", Ünïcode: "π", spo: "{}" }),
      );
    },
    async read(folder) {
      const { readFileSync } = await import("node:fs");
      let bytes: Uint8Array;
      try {
        bytes = readFileSync(join(folder, "image.png"));
      } catch (error) {
        throw new UserError((error as Error).message, { code: "DATA" }); // the harness's own read
      }
      for (const [key, text] of Object.entries(readPngText(bytes)))
        if (typeof key !== "string" || typeof text !== "string") throw new Error("no text");
    },
  },
];
