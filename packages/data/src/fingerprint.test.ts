import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { dataFacts, fingerprintOfPrompts } from "./fingerprint.js";
import { openPairSet, type PairFacts, type PreferencePair, writeParquetPairs } from "./index.js";

const folder = mkdtempSync(join(tmpdir(), "spo-fingerprint-"));
afterAll(() => rmSync(folder, { recursive: true }));

const print = async (path: string): Promise<string> => {
  const set = await openPairSet(path);
  await set.close();
  return JSON.stringify(set.fingerprint);
};

const pair = (facts: Partial<PairFacts> = {}, bytes = 8): PreferencePair => ({
  ...{ prompt: "p", label0: 1, label1: 0, labelled: true, different: true, split: "train" },
  ...facts,
  image0: new Uint8Array(bytes),
  image1: new Uint8Array(8),
});
const parquet = async (...pairs: PreferencePair[]): Promise<string> => {
  const path = join(folder, "p.parquet");
  await writeParquetPairs(
    path,
    (async function* () {
      yield* pairs;
    })(),
  );
  return print(path);
};

test("a parquet set is known by its prompts, labels, order, number and the sizes of its images", async () => {
  const [a, b] = [pair({ prompt: "a" }), pair({ prompt: "b" })];
  const base = await parquet(a, b);
  expect(await parquet(a, b)).toBe(base);
  const others = [
    await parquet(a),
    await parquet(b, a),
    await parquet(a, { ...b, prompt: "c" }),
    await parquet(a, { ...b, label0: 0, label1: 1 }),
    await parquet(a, { ...b, labelled: false }),
    await parquet(a, { ...b, split: "test" }),
    await parquet(a, { ...pair({ prompt: "b" }, 9) }),
  ];
  expect(new Set([base, ...others]).size).toBe(8);
});

test("a list is known by its images' names and sizes too, and not by where it lies", async () => {
  const at = join(folder, "set");
  mkdirSync(at);
  const write = (name: string, image: string, bytes: number): void => {
    writeFileSync(
      join(at, "pairs.jsonl"),
      JSON.stringify({ prompt: "p", image_0: image, image_1: "b.png", label_0: 1 }),
    );
    writeFileSync(join(at, name), new Uint8Array(bytes));
  };
  write("a.png", "a.png", 5);
  const base = await print(at);
  write("a.png", "a.png", 6);
  expect(await print(at)).not.toBe(base);
  write("a.png", "c.png", 5);
  expect(await print(at)).not.toBe(base);
  write("a.png", "a.png", 5);
  renameSync(at, `${at}-moved`);
  expect(await print(`${at}-moved`)).toBe(base);
});

test("prompts are known by their words and order; a run's log has numbers and the beginnings of hashes", () => {
  const [a, b] = [fingerprintOfPrompts(["x", "y"]), fingerprintOfPrompts(["y", "x"])];
  expect(a).toEqual(fingerprintOfPrompts(["x", "y"]));
  expect(a.sha256).not.toBe(b.sha256);
  expect(dataFacts({ prompts: a })).toEqual({ prompts: 2, promptsSha256: a.sha256.slice(0, 16) });
});
