import { statSync } from "node:fs";
import { join } from "node:path";
import { openPairSet, PairLoader, type PairSet, type PreferencePair, writeParquetPairs } from "@spo/data";
import { Generator, rand, randn, scope, type TypedArray } from "@spo/torch";
import sharp from "sharp";
import type { Case, Question } from "./question.js";

const SIDE = 512;
const PAIRS = 2000;
/** Each comes about thirty times: decoding costs the same, and making them does not take longer than the measurement. */
const IMAGES = 128;
const BATCH = 16;
const BATCHES = 25;

/** Smooth fields and hard-edged ellipses under fine noise, as JPEG: like a generated picture in size and in work. */
async function picture(generator: Generator): Promise<Uint8Array> {
  const pixels = scope(() => {
    const smooth = randn([1, 3, 6, 6], { generator }).upsampleBicubic2d([SIDE, SIDE], false).mul(50).add(128);
    const noise = randn([1, 3, SIDE, SIDE], { generator }).mul(6);
    return smooth
      .add(noise)
      .clamp(0, 255)
      .round()
      .to({ dtype: "uint8" })
      .permute([0, 2, 3, 1])
      .contiguous()
      .toTypedArray();
  }) as TypedArray as Uint8Array;
  const places = scope(() => rand([8 * 5], { generator }).toNumbers());
  const ellipses = Array.from({ length: 8 }, (_, i) => {
    const [x, y, rx, ry, hue] = places.slice(5 * i, 5 * i + 5) as [number, number, number, number, number];
    return `<ellipse cx="${x * SIDE}" cy="${y * SIDE}" rx="${10 + rx * 90}" ry="${10 + ry * 90}" fill="hsl(${hue * 360},70%,50%)"/>`;
  });
  const shapes = Buffer.from(`<svg width="${SIDE}" height="${SIDE}">${ellipses.join("")}</svg>`);
  const image = sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 3 } });
  return new Uint8Array(
    await image
      .composite([{ input: shapes }])
      .jpeg({ quality: 90 })
      .toBuffer(),
  );
}

async function* pairs(): AsyncGenerator<PreferencePair> {
  const generator = new Generator(11);
  const images: Uint8Array[] = [];
  for (let i = 0; i < IMAGES; i++) images.push(await picture(generator));
  for (let i = 0; i < PAIRS; i++) {
    const shared = {
      prompt: `a picture of thing ${i % 500}`,
      labelled: true,
      different: true,
      split: "train",
    };
    const [image0, image1] = [images[i % IMAGES], images[(7 * i + 1) % IMAGES]] as [Uint8Array, Uint8Array];
    yield { ...shared, label0: i % 2, label1: 1 - (i % 2), image0, image1 };
  }
}

const question: Question = {
  question: "How many preference pairs a second does the reader feed from a Pick-a-Pic parquet?",
  prepare: async (folder) => {
    await writeParquetPairs(join(folder, "pairs.parquet"), pairs());
  },
  cases: (folder) => {
    const rssBefore = process.memoryUsage.rss(); // with libtorch, and no reader yet
    const path = join(folder, "pairs.parquet");
    let open: { set: PairSet; loader: PairLoader; next: number } | undefined;
    const begun = async (side: number) => {
      if (!open) {
        const set = await openPairSet(path);
        open = {
          set,
          loader: new PairLoader(set, { seed: 1, side, kernel: "bicubic", workers: 2 }),
          next: 0,
        };
      }
      return open;
    };
    const reading = (name: string, side: number): Case => ({
      name,
      shapes: `${PAIRS} pairs of ${SIDE}×${SIDE} JPEGs of quality 90 → uint8 [${BATCH}, ${side}, ${side}, 3] twice`,
      units: BATCH * BATCHES,
      rounds: 5,
      run: async () => {
        const reader = await begun(side);
        for (let i = 0; i < BATCHES; i++, reader.next += BATCH) await reader.loader.read(reader.next, BATCH);
      },
      facts: async () => {
        await open?.loader.close();
        await open?.set.close();
        open = undefined;
        return { fileBytes: statSync(path).size, rssBefore };
      },
    });
    return [reading("decode", SIDE), reading("decode and resize", 448)];
  },
};
export default question;
