import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claim } from "./draw-set.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-draw-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const settings = (): unknown => JSON.parse(readFileSync(join(folder, "settings.json"), "utf8"));
const put = (name: string): void => writeFileSync(join(folder, name), "");

test("a folder without images takes new settings, whatever an earlier call left there", () => {
  claim(folder, { steps: 20 });
  expect(settings()).toEqual({ steps: 20 });
  put("0000-0-0.png.123.tmp"); // of a process that was killed in its first image
  claim(folder, { steps: 30, eta: undefined });
  expect(settings()).toEqual({ steps: 30 });
});

test("a folder with images keeps its settings and refuses others by name", () => {
  claim(folder, { steps: 20, seeds: [0] });
  put("0000-0-0.png");
  claim(folder, { seeds: [0], steps: 20, eta: undefined });
  expect(() => claim(folder, { steps: 30, seeds: [0] })).toThrow(
    /images of another evaluation.* in steps\.$/,
  );
  expect(settings()).toEqual({ steps: 20, seeds: [0] });
});
