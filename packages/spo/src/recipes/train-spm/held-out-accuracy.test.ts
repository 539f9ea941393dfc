import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readAccuracy, saveAccuracy } from "./held-out-accuracy.js";

const folder = mkdtempSync(join(tmpdir(), "spo-accuracy-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("what a preference model's folder says of its accuracy is read again, and anything else is nothing", () => {
  expect(readAccuracy(folder)).toBeUndefined();
  expect(readAccuracy(join(folder, "missing"))).toBeUndefined();
  saveAccuracy(folder, { "accuracy/t=0": 0.375, "accuracy/t=951": Number.NaN });
  expect(readAccuracy(folder)).toEqual({ "accuracy/t=0": 0.375, "accuracy/t=951": null });
  expect(readAccuracy(join(folder, "held_out_accuracy.json"))).toBeUndefined(); // a file, not a folder
  for (const text of ["null", "{", '{"accuracy/t=0": "high"}', '{"accuracy/t=0": 7}']) {
    writeFileSync(join(folder, "held_out_accuracy.json"), text);
    expect(readAccuracy(folder)).toBeUndefined();
  }
});
