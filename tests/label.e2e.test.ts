// Labels by a scorer through the command line: of a preference set, and of generated images, into every layout.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPairs, type PreferencePair, readVotes, writeParquetPairs } from "@spo/data";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const folder = mkdtempSync(join(tmpdir(), "spo-label-"));
const at = (...path: string[]): string => join(folder, ...path);
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(at("world"));
  // Brighter is better, by the mean byte: what comes out can be computed by hand.
  writeFileSync(
    at("brightness.mjs"),
    `export default { name: "brightness", score: (images) => images.map(({ data }) => data.reduce((a, b) => a + b, 0) / data.length / 100) };`,
  );
  const grey = [10, 60, 60, 250];
  mkdirSync(at("images"));
  const lines: string[] = [];
  for (const [p, prompt] of ["a", "b"].entries())
    for (const [i, level] of grey.entries()) {
      const file = `${p}-${i}.png`;
      writeFileSync(at("images", file), await square(level + p));
      lines.push(JSON.stringify({ file, prompt }));
    }
  writeFileSync(at("images", "images.jsonl"), `${lines.join("\n")}\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const square = (level: number): Promise<Buffer> =>
  sharp({ create: { width: 8, height: 8, channels: 3, background: { r: level, g: level, b: level } } })
    .png()
    .toBuffer();

async function pairsOf(path: string): Promise<PreferencePair[]> {
  const source = await openPairs(path);
  const pairs: PreferencePair[] = [];
  for (const block of source.blocks.keys()) pairs.push(...(await source.pairs(block)));
  await source.close();
  return pairs;
}
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

describe("spo label", () => {
  test.each(["parquet", "jsonl"])("gives each two images of a prompt a soft label, in %s", async (to) => {
    const output = to === "parquet" ? at("made.parquet") : at(`made-${to}`);
    const ended = await cli([
      "label",
      at("images"),
      "--images",
      "--by",
      at("brightness.mjs"),
      "--to",
      to,
      "--output",
      output,
      "--json",
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    const summary = JSON.parse(ended.stdout);
    expect(summary).toMatchObject({ schema: "spo.labels/1", pairs: 12, ties: 2, written: 12 });
    const pairs = await pairsOf(output);
    expect(pairs.map(({ prompt }) => prompt).sort()).toEqual([..."aaaaaabbbbbb"]);
    const first = pairs.filter(({ prompt }) => prompt === "a").map(({ label0 }) => label0);
    const expected = [[10, 60], [10, 60], [10, 250], [60, 60], [60, 250], [60, 250]]; // biome-ignore format: pairs
    for (const [i, [a, b]] of (expected as [number, number][]).entries())
      expect(first[i]).toBeCloseTo(sigmoid((a - b) / 100), 6);
    expect(pairs.every(({ label0, label1 }) => Math.abs(label0 + label1 - 1) < 1e-9)).toBe(true);
    expect(pairs.every(({ examples, labelled }) => examples === 6 && labelled)).toBe(true);
  });

  test("makes hard labels with ties, as published for SDXL, and splits by prompt", async () => {
    const ended = await cli([
      ...["label", at("images"), "--images", "--by", at("brightness.mjs"), "--output", at("hard.parquet")],
      ...[
        "--tie",
        "0.3",
        "--hard",
        "--test-share",
        "0.5",
        "--per-prompt",
        "5",
        "--scores",
        at("scores.jsonl"),
      ],
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    const pairs = await pairsOf(at("hard.parquet"));
    expect(pairs).toHaveLength(10);
    expect(new Set(pairs.map(({ label0 }) => label0))).toEqual(new Set([0, 0.5]));
    const splitOf = (prompt: string) =>
      new Set(pairs.filter((pair) => pair.prompt === prompt).map(({ split }) => split));
    expect([[...splitOf("a")], [...splitOf("b")]].flat().sort()).toEqual(["test", "train"]);
    const scores = readFileSync(at("scores.jsonl"), "utf8").trim().split("\n");
    expect(JSON.parse(scores[0] as string)).toMatchObject({ score0: expect.any(Number) });
    expect(scores).toHaveLength(10);
  });

  test("labels a preference set anew by a preference model, and tells how far it agrees with people", async () => {
    const ended = await cli([
      ...["label", world.pairs, "--by", `spm:${world.spm},tokenizer=${join(world.model, "tokenizer")}`],
      ...["--output", at("by-spm.parquet"), "--json"],
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    const summary = JSON.parse(ended.stdout);
    expect(summary).toMatchObject({ pairs: 24, written: 24 });
    expect(summary.agreement.pairs).toBe(24);
    const [before, after] = [await pairsOf(world.pairs), await pairsOf(at("by-spm.parquet"))];
    const same = before.filter(({ label0 }, i) => label0 > 0.5 === (after[i]?.label0 as number) > 0.5).length;
    expect(summary.agreement.share).toBeCloseTo(same / 24, 6);
    expect(after.map(({ split }) => split)).toEqual(before.map(({ split }) => split));
  });

  test("gives votes that can be merged with people's", async () => {
    const ended = await cli([
      ...["label", world.pairs, "--by", at("brightness.mjs"), "--to", "votes", "--output", at("votes.jsonl")],
    ]);
    expect(ended.code, ended.stderr).toBe(0);
    const votes = readVotes(at("votes.jsonl"));
    expect(votes).toHaveLength(24);
    expect(votes.every(({ labeller }) => labeller === "brightness")).toBe(true);
    const merged = await cli([
      "data",
      "import",
      world.pairs,
      "--votes",
      at("votes.jsonl"),
      "--output",
      at("merged.parquet"),
    ]);
    expect(merged.code, merged.stderr).toBe(0);
    const [voted, labels] = [await pairsOf(at("merged.parquet")), votes.map(({ preference }) => preference)];
    for (const [i, { label0 }] of voted.entries()) expect(label0).toBeCloseTo(labels[i] as number, 12);
  });

  test("lists images that do not decode, and leaves their pairs out when told to", async () => {
    const broken = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 1, 2, 3]);
    const whole = new Uint8Array(await square(9));
    const pair = { prompt: "a", label0: 1, label1: 0, labelled: true, different: true, split: "train" };
    await writeParquetPairs(
      at("broken.parquet"),
      (async function* () {
        yield { ...pair, image0: whole, image1: broken };
        yield { ...pair, image0: whole, image1: new Uint8Array(await square(99)) };
      })(),
    );
    const call = [
      "label",
      at("broken.parquet"),
      "--by",
      at("brightness.mjs"),
      "--output",
      at("whole.parquet"),
    ];
    const refused = await cli(call);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toMatch(/row 0, image 1: does not decode/);
    expect((await cli([...call, "--skip-broken"])).code).toBe(0);
    expect(await pairsOf(at("whole.parquet"))).toHaveLength(1);
  });

  test("says what is wrong with a scorer, a number, and images of which no two have one prompt", async () => {
    const call = (...more: string[]) =>
      cli(["label", at("images"), "--images", "--output", at("none"), ...more]);
    expect(await call("--by", "pickscor:x")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("pickscore"),
    });
    const by = ["--by", at("brightness.mjs")];
    expect(await call(...by, "--temperature", "0")).toMatchObject({ code: 2 });
    writeFileSync(at("images", "one.jsonl"), JSON.stringify({ file: "0-0.png", prompt: "alone" }));
    const alone = await cli(["label", at("images", "one.jsonl"), "--images", ...by, "--output", at("none")]);
    expect(alone).toMatchObject({ code: 4, stderr: expect.stringContaining("no two of them") });
  });
});

describe("spo data filter", () => {
  test("keeps pairs by two scorers' gaps, which a second call needs no scorer for", async () => {
    writeFileSync(
      at("dark.mjs"),
      `export default { score: (images) => images.map(({ data }) => -data[0]) };`,
    );
    const made = await cli([
      ...["label", at("images"), "--images", "--by", at("brightness.mjs"), "--hard", "--to", "jsonl"],
      ...["--output", at("bright")],
    ]);
    expect(made.code, made.stderr).toBe(0);
    const both = await cli([
      ...["data", "filter", at("bright"), "--by", at("brightness.mjs"), "--by", at("dark.mjs"), "--json"],
      ...["--require", "brightness>1", "--ties", "dark<5", "--output", at("filtered.parquet")],
    ]);
    expect(both.code, both.stderr).toBe(0);
    // Of the levels 10, 60, 60 and 250: three pairs with 250 have a gap above 1, and 60 and 60 tie; of two prompts.
    expect(JSON.parse(both.stdout)).toMatchObject({
      wins: { before: 10, kept: 6 },
      ties: { before: 2, kept: 2 },
      disagreements: [{ scorers: ["brightness", "dark"], pairs: 10, of: 10 }],
    });
    const again = await cli([
      ...[
        "data",
        "filter",
        at("filtered.parquet"),
        "--require",
        "dark<-200",
        "--output",
        at("again.parquet"),
      ],
    ]);
    expect(again.code, again.stderr).toBe(0);
    const gaps = (await pairsOf(at("again.parquet"))).map((pair) => pair.gaps?.dark);
    expect(gaps).toEqual([-240, -240]);
  });

  test.each([
    [["--require", "vqa>0"], "nothing gives gaps by vqa"],
    [["--require", "brightness>1", "--require", "brightness<0"], "No gap meets both"],
    [[], "Nothing was asked for"],
  ])("refuses %j", async (words, message) => {
    const scorer = words.length > 2 ? ["--by", at("brightness.mjs")] : [];
    const ended = await cli(["data", "filter", world.pairs, ...scorer, ...words, "-o", at("never.parquet")]);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain(message);
  });
});
