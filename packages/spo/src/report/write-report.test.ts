import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ImagePair, ReportData } from "@spo/records/report";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeReport } from "./write-report.js";

const folder = mkdtempSync(join(tmpdir(), "spo-report-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let pairs: ImagePair[];
beforeAll(async () => {
  const png = (background: string): Promise<Buffer> =>
    sharp({ create: { width: 8, height: 8, channels: 3, background } })
      .png()
      .toBuffer();
  const [base, spo] = [await png("#ff0000"), await png("#0000ff")];
  pairs = ["fox", "owl", "bee"].map((prompt, seed) => ({ prompt, seed, base, spo }));
});

const report = (extremes?: ReportData["extremes"]): ReportData => ({
  ...{ title: "t", summary: "s", measures: [], pairCount: 0, pairs: [], strips: [], charts: [], work: [] },
  ...{ settings: {}, provenance: {}, extremes },
});

test("the prompts that improved most and least stand as labelled rows of base and SPO beside the page", async () => {
  const at = join(folder, "ends");
  const written = await writeReport(at, report({ about: "", most: pairs, least: pairs.slice(1) }));
  expect(written.images).toEqual([join(at, "most-improved.png"), join(at, "least-improved.png")]);
  const pixels = async (name: string): Promise<(x: number, y: number) => number[]> => {
    const { data, info } = await sharp(join(at, name))
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    return (x, y) => [...data.subarray(3 * (y * info.width + x), 3 * (y * info.width + x) + 3)];
  };
  const most = await pixels("most-improved.png");
  const least = await pixels("least-improved.png");
  // Rows begin 120 pixels from the left and 28 from the top; a cell takes 136.
  for (const column of [0, 1, 2]) {
    expect(most(120 + 8 + 64 + column * 136, 28 + 8 + 64)).toEqual([255, 0, 0]);
    expect(most(120 + 8 + 64 + column * 136, 28 + 8 + 64 + 136)).toEqual([0, 0, 255]);
  }
  expect(least(120 + 8 + 64 + 136, 28 + 8 + 64)).toEqual([255, 0, 0]);
  expect((await sharp(join(at, "least-improved.png")).metadata()).width).toBe(120 + 8 + 2 * 136);
});

test("a report without such prompts has no such rows", async () => {
  const at = join(folder, "none");
  expect((await writeReport(at, report())).images).toEqual([]);
  expect(existsSync(join(at, "most-improved.png"))).toBe(false);
  expect(JSON.parse(readFileSync(join(at, "report.json"), "utf8"))).toMatchObject({ title: "t" });
});
