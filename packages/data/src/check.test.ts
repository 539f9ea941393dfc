import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Ballot, checkPairs, convertPairs, openPairs, readVotes, votesOf, writeVotes } from "./index.js";

const folder = mkdtempSync(join(tmpdir(), "spo-check-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = join(folder, "set");

beforeAll(async () => {
  mkdirSync(at);
  for (const [i, width] of [4, 4, 4, 6].entries()) {
    const background = { r: 60 * i, g: 0, b: 0 };
    await sharp({ create: { width, height: 4, channels: 3, background } })
      .png()
      .toFile(join(at, `${i}.png`));
  }
  writeFileSync(join(at, "broken.png"), "no picture");
  const lines = [
    { prompt: "cat", image_0: "0.png", image_1: "1.png", label_0: 1, label_1: 0 },
    { prompt: "cat", image_0: "1.png", image_1: "0.png", label_0: 0, label_1: 1 }, // the first one turned round
    {
      prompt: "dog",
      image_0: "0.png",
      image_1: "2.png",
      label_0: 0.5,
      label_1: 0.5,
      num_example_per_prompt: 2,
    },
    { prompt: "dog", image_0: "3.png", image_1: "3.png", label_0: 0.7, label_1: 0.3, split: "test" },
    { prompt: "owl", image_0: "2.png", image_1: "broken.png", label_0: 2, label_1: 0 },
    { prompt: "", image_0: "2.png", image_1: "1.png", has_label: false },
  ];
  writeFileSync(join(at, "pairs.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
});

test("a look at a set tells labels, prompts, images, duplicates, leaks and faults", async () => {
  const report = await checkPairs(await openPairs(at));
  expect(report).toMatchObject({
    layout: "jsonl",
    pairs: 6,
    splits: { train: 5, test: 1 },
    labels: { labelled: 5, ties: 1, soft: 2, firstWins: 3, secondWins: 1 },
    prompts: {
      distinct: 4,
      length: { min: 0, median: 3, max: 3 },
      pairs: { min: 1, max: 2 },
      wrongCounts: 0,
    },
    images: { decoded: 11, broken: 1, distinct: 4, sizes: { "4×4": 9, "6×4": 2 }, formats: { png: 11 } },
    duplicates: { pairs: 1, sides: 1 },
    leaks: { prompts: 1, images: 0 },
    faults: { count: 3 },
  });
  expect(report.duplicates.shown[0]).toMatch(/line 2: the same pair as .*line 1/);
  expect(report.leaks.shown).toEqual(['prompt "dog": in train and test']);
  expect(report.faults.shown.join("\n")).toMatch(
    /line 5: labels 2 and 0[\s\S]*line 5: image 1 does not decode[\s\S]*line 6: no prompt/,
  );
});

describe("votes", () => {
  test("of several people become the mean of what each said last, whichever way round they saw the pair", () => {
    const [a, b] = ["a".repeat(64), "b".repeat(64)] as const;
    const vote = (id: string, labeller: string, preference: number | null, turned = false) => ({
      schema: "spo.vote/1" as const,
      id,
      prompt: "p",
      image_0: turned ? b : a,
      image_1: turned ? a : b,
      preference,
      labeller,
    });
    const ballot = new Ballot([
      vote("1", "ann", 0),
      vote("2", "ann", 1), // changed her mind
      vote("3", "bob", 0, true), // a is better
      vote("3", "bob", 1, true), // sent twice
      vote("4", "cho", 0.5),
      vote("5", "dan", null), // skipped
    ]);
    expect(ballot.label0("p", a, b)).toBeCloseTo(2.5 / 3);
    expect(ballot.label0("p", b, a)).toBeCloseTo(0.5 / 3);
    expect(ballot.label0("q", a, b)).toBeUndefined();
  });

  test("that were written from a set give it its labels back; pairs without one are unjudged", async () => {
    const file = join(folder, "votes.jsonl");
    expect(await writeVotes(file, votesOfGood())).toBe(2);
    writeFileSync(file, '{"half a line', { flag: "a" });
    const output = join(folder, "labelled.parquet");
    const votes = new Ballot(readVotes(file));
    const { written } = await convertPairs(await openPairs(at), {
      to: "parquet",
      output,
      votes,
      skipBroken: true,
    });
    const labelled = await openPairs(output);
    try {
      const labels = (await labelled.facts(0)).map(({ labelled: has, label0 }) => [has, label0]);
      expect(labels).toEqual([
        [true, 0.9],
        [true, 1 - 0.9], // the same pair, turned round
        [true, 0.5],
        [false, Number.NaN],
      ]);
      expect(written).toBe(4);
    } finally {
      await labelled.close();
    }
  });

  /** Of the first and third pair, the first with another opinion. */
  async function* votesOfGood() {
    for await (const vote of votesOf(await openPairs(at), "me")) {
      if (vote.id.endsWith("/0")) yield { ...vote, preference: 0.9 };
      if (vote.id.endsWith("/2")) yield vote;
      if (vote.id.endsWith("/2")) return; // the fifth pair's image is no image, but it has a hash
    }
  }

  test("that are none are listed with their lines", () => {
    const file = join(folder, "bad.jsonl");
    writeFileSync(file, '{"id":"1","prompt":"p","image_0":"x","image_1":"y","preference":2}\nno\n');
    expect(() => readVotes(file)).toThrow(
      /2 faults\.\n.*line 1: image_0: expected a SHA-256; .*preference[\s\S]*line 2/,
    );
  });
});
