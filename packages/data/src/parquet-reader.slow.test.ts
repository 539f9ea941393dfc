import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UserError } from "@spo/torch/files";
import { seedAt } from "@spo/torch/seed";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  openPairs,
  ParquetReader,
  type ParquetReaderOptions,
  type PreferencePair,
  writeParquetPairs,
} from "./index.js";
import { secondsFor } from "./parquet-reader.js";

const folder = mkdtempSync(join(tmpdir(), "spo-parquet-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "whole.parquet");
let whole: Buffer;

/** Bytes that are no text, so that a decoder of text would damage them. */
const bytes = (i: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, j) => (i * 89 + j * 151) % 256);

async function* pairs(count: number, length = 8): AsyncGenerator<PreferencePair> {
  for (let i = 0; i < count; i++)
    yield {
      prompt: `prompt ${i}`,
      label0: i % 2,
      label1: 1 - (i % 2),
      labelled: true,
      different: true,
      split: "train",
      image0: bytes(i, length),
      image1: bytes(i + 1, length),
    };
}

beforeAll(async () => {
  await writeParquetPairs(path, pairs(6));
  whole = readFileSync(path);
});

/** Opens a file and reads every row group of it, images too. */
async function readWhole(reader: ParquetReader, file: string): Promise<number> {
  const { columns, rowGroups } = await reader.open(file);
  let start = 0;
  for (const { rows } of rowGroups) {
    await reader.read({
      path: file,
      columns,
      rowStart: start,
      rowEnd: start + rows,
      useOffsetIndex: false,
    });
    start += rows;
  }
  return start;
}

async function withReader<T>(
  options: ParquetReaderOptions,
  use: (reader: ParquetReader) => Promise<T>,
): Promise<T> {
  const reader = new ParquetReader(options);
  try {
    return await use(reader);
  } finally {
    await reader.close();
  }
}

test.each([["row group by row group", {}, [2, 1], 3 << 20, 3]] as const)(
  "images come back byte for byte, %s",
  async (_, options, rows, length, count) => {
    const file = join(folder, `${length}.parquet`);
    expect(await writeParquetPairs(file, pairs(count, length))).toBe(count);
    const source = await openPairs(file, options);
    try {
      expect(source.blocks.map((block) => block.rows)).toEqual(rows);
      let i = 0;
      for (const block of source.blocks.keys()) {
        for (const pair of await source.pairs(block)) {
          expect(pair.prompt).toBe(`prompt ${i}`);
          expect(Buffer.compare(pair.image0 as Uint8Array, bytes(i, length))).toBe(0);
          expect(Buffer.compare(pair.image1 as Uint8Array, bytes(++i, length))).toBe(0);
        }
      }
    } finally {
      await source.close();
    }
  },
);

test("300 damaged files each end as rows or as an error that names them", async () => {
  await withReader({ seconds: 1, memory: 64 << 20 }, async (reader) => {
    let refused = 0;
    for (let mutant = 0; mutant < 300; mutant++) {
      const copy = Buffer.from(whole);
      const changes = 1 + (seedAt(1, mutant) % 3);
      for (let change = 0; change < changes; change++)
        copy[seedAt(2, mutant, change) % copy.length] = seedAt(3, mutant, change) % 256;
      const cut = seedAt(4, mutant) % 10 === 0 ? copy.subarray(0, seedAt(5, mutant) % copy.length) : copy;
      const file = join(folder, `mutant-${mutant}.parquet`);
      writeFileSync(file, cut);
      await readWhole(reader, file).catch((error: unknown) => {
        expect(error).toBeInstanceOf(UserError);
        expect((error as UserError).code).toBe("DATA");
        expect((error as UserError).message).toContain(file);
        expect((error as UserError).message).not.toMatch(
          /Cannot read|is not a function|undefined|Invalid array/,
        );
        refused++;
      });
      rmSync(file);
    }
    expect(refused).toBeGreaterThan(100);
  });
}, 300_000);

test("a small file has seconds to be read in, a large one what its size can need", () => {
  expect([0, 1000, 1e8, 1e11].map(secondsFor)).toEqual([2, 3, 12, 60]);
});

test("a file with other columns is told what it lacks", async () => {
  const file = join(folder, "other.parquet");
  const copy = Buffer.from(whole);
  for (let at = copy.indexOf("caption"); at >= 0; at = copy.indexOf("caption", at)) copy.write("kaption", at);
  writeFileSync(file, copy);
  await expect(openPairs(file)).rejects.toThrow(/it has no prompt \(.*its columns are kaption, jpg_0/);
});
