import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contactSheet } from "@spo/data";
import { readRun } from "@spo/records";
import { readStripFile, runReport, shownStrips, stripFileName } from "@spo/records/report";
import { UserError } from "@spo/torch/files";
import sharp from "sharp";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "spo-strips-"));
afterAll(() => rmSync(folder, { recursive: true }));

const row = {
  prompt: "a",
  comparison: 0,
  timestep: 500,
  scores: [0.5, null],
  win: 0,
  lose: 1,
  valid: true,
  images: ["", ""],
};
const put = (text: string): string => {
  const path = join(folder, "strips.json");
  writeFileSync(path, text);
  return path;
};

test("a strip file reads as it was written, and a damaged one is refused in words", () => {
  const [strip] = shownStrips(readStripFile(put(JSON.stringify([row]))));
  expect(strip).toMatchObject({ prompt: "a", rows: [{ timestep: 500, scores: [0.5, Number.NaN], win: 0 }] });
  for (const [text, told] of [
    ["[", /strips\.json is damaged: .*JSON/],
    ["{}", /strips\.json is damaged: expected array, received object/],
    [JSON.stringify([{ ...row, scores: "1" }]), /damaged: 0\.scores: expected array, received string/],
    [JSON.stringify([{ ...row, win: undefined }]), /damaged: 0\.win: missing, expected/],
  ] as const) {
    expect(() => readStripFile(put(text))).toThrow(UserError);
    expect(() => readStripFile(put(text))).toThrow(told);
  }
});

test("a comparison without pictures is in the file, and is not shown on a page of pictures", () => {
  const file = readStripFile(put(JSON.stringify([{ ...row, images: [], margin: null }, row])));
  expect(file.map(({ images }) => images.length)).toEqual([0, 2]);
  expect(shownStrips(file)).toMatchObject([{ prompt: "a", rows: [{ timestep: 500 }] }]);
  expect(shownStrips(readStripFile(put(JSON.stringify([{ ...row, images: [] }]))))).toEqual([]);
});

test("a run's report passes over a damaged strip file and tells of it", () => {
  const run = join(folder, "run");
  mkdirSync(join(run, "strips"), { recursive: true });
  writeFileSync(join(run, "config.json"), JSON.stringify({ kind: "train spo" }));
  writeFileSync(join(run, "strips", stripFileName(0)), JSON.stringify([row]));
  writeFileSync(join(run, "strips", stripFileName(4)), "[1, 2]");
  const { strips, notes } = runReport(readRun(run));
  expect(strips).toMatchObject([{ prompt: "a", note: "round 1" }]);
  expect(notes).toEqual([expect.stringMatching(/round-000004\.json is damaged: 0: expected object/)]);
});

test("on a sheet an image that does not decode is a grey square", async () => {
  const red = await sharp({ create: { width: 4, height: 4, channels: 3, background: "#f00" } })
    .png()
    .toBuffer();
  const sheet = await contactSheet([red, red.subarray(0, 20), Buffer.from("no image")], {
    columns: 3,
    side: 4,
    gap: 0,
  });
  const { data } = await sharp(sheet).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  expect([data[0], data[1], data[3 * 4], data[3 * 4 + 1], data[3 * 8]]).toEqual([255, 0, 0xbb, 0xbb, 0xbb]);
});
