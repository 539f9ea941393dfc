// The layouts of public preference sets, in files that pyarrow wrote (tests/python/preference_layouts.py) and in lists.
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  checkPairs,
  type EncodedImage,
  type OpenOptions,
  openPairSet,
  openPairs,
  type PreferencePair,
} from "../index.js";

const golden = fileURLToPath(new URL("../../../../tests/golden/preference-layouts", import.meta.url));
const cases = fileURLToPath(new URL("../../../../../shared/cases", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "spo-public-"));
afterAll(() => rmSync(folder, { recursive: true }));
let png: Buffer;
beforeAll(async () => {
  png = await sharp({ create: { width: 2, height: 2, channels: 3, background: "red" } })
    .png()
    .toBuffer();
});

let next = 0;
/** A folder with these files; images a, b, c beside them. */
function set(files: Record<string, string>, images = ["a.png", "b.png", "c.png"]): string {
  const at = join(folder, `set-${next++}`);
  for (const [name, content] of [...Object.entries(files), ...images.map((name) => [name, png] as const)]) {
    mkdirSync(dirname(join(at, name)), { recursive: true });
    writeFileSync(join(at, name), content);
  }
  return at;
}

async function pairsOf(path: string, options: OpenOptions = {}): Promise<PreferencePair[]> {
  const source = await openPairs(path, options);
  try {
    return (await Promise.all([...source.blocks.keys()].map((block) => source.pairs(block)))).flat();
  } finally {
    await source.close();
  }
}
const labels = async (path: string, options?: OpenOptions): Promise<(number | undefined)[]> =>
  (await pairsOf(path, options)).map(({ labelled, label0 }) => (labelled ? label0 : undefined));

const sizeOf = (image: EncodedImage): number => (image instanceof Uint8Array ? image.byteLength : -1);
const file = (name: string): string => join(golden, `${name}.parquet`);

describe("parquet", () => {
  test("votes per image become shares, smoothed shares or majorities; splits come from the files", async () => {
    const one = file("train_0001-00000-of-00001");
    const [pair, none] = await pairsOf(one);
    expect(pair).toMatchObject({
      ...{ prompt: "train_0001 0", label0: 0.75, label1: 0.25, labelled: true },
      ...{ split: "train", model0: "flux", model1: "sdxl" },
    });
    expect(none?.labelled).toBe(false);
    expect(sizeOf(pair?.image0 as EncodedImage)).toBeGreaterThan(60);
    expect(await labels(one, { softLabels: "smoothed" })).toEqual([4 / 6, undefined]);
    expect(await labels(one, { softLabels: "majority" })).toEqual([1, undefined]);
    const splits = await Promise.all(
      ["train_0002-00000-of-00001", "validation-00000-of-00001"].map(async (name) => pairsOf(file(name))),
    );
    expect(splits.flat().map(({ split, label0 }) => [split, label0])).toEqual([
      ["train", 0.5],
      ["validation", 0],
    ]);
  });

  test.each(["responses-flat", "responses-nested"])(
    "answers that were handed in are votes: %s",
    async (name) => {
      const pairs = await pairsOf(file(name));
      expect(pairs.map(({ label0 }) => label0)).toEqual([2 / 3, 0.5, 0]);
      expect(sizeOf(pairs[2]?.image1 as EncodedImage)).toBeGreaterThan(60);
    },
  );

  test("rows that are votes become one pair, weighted by trust, whichever way round they show it", async () => {
    const pairs = await pairsOf(file("one-row-a-vote"));
    expect(pairs.map(({ prompt, label0, model0, model1 }) => [prompt, label0, model0, model1])).toEqual([
      ["p", 0.75, "flux", "sdxl"], // A by 1, the same by ½, the other by ½
      ["q", 0.5, "flux", "flux"],
    ]);
  });

  test("1 is the left image and −1 the right; identifiers are files, with or without an ending", async () => {
    const pairs = await pairsOf(file("left-right"));
    expect(pairs.map(({ prompt, label0 }) => [prompt, label0])).toEqual([
      ["p", 0.5],
      ["q", 0],
    ]);
    expect(pairs[1]?.image1).toMatchObject({ path: join(golden, "img/2.png") });
  });

  test("chosen is preferred to rejected, and their models are kept", async () => {
    expect(await pairsOf(file("chosen-rejected"))).toMatchObject([
      { prompt: "p", label0: 1, label1: 0, model0: "flux", model1: "sd3" },
    ]);
  });

  test("flags may be numbers or missing, labels text, captions lists; seeds are kept", async () => {
    const pairs = await pairsOf(file("flags"));
    expect(pairs.map(({ labelled, different, label0 }) => [labelled, different, label0])).toEqual([
      [true, true, 1],
      [false, true, 0],
      [true, false, 0.5],
      [false, true, 0.25],
      [true, true, 0.25],
    ]);
    expect(pairs[1]?.prompt).toBe("p 1");
    expect(pairs.map(({ seed0, seed1 }) => [seed0, seed1]).slice(3)).toEqual([
      [4, 8],
      [2 ** 40, undefined],
    ]);
    const set = await openPairSet(file("flags"));
    expect(set.size).toBe(2);
    await set.close();
  });

  test("ranked lists in cells give all their pairs", async () => {
    const pairs = await pairsOf(file("ranked"));
    expect(pairs.map(({ label0 }) => label0)).toEqual([0, 0.5, 1, 1]);
    expect(pairs[2]?.image0).toMatchObject({ path: join(golden, "img/1.png") });
  });

  test("images may be paths from where the file lies", async () => {
    const source = await openPairs(file("path-only"));
    const report = await checkPairs(source);
    await source.close();
    expect(report).toMatchObject({
      images: { decoded: 2, broken: 0 },
      labels: { firstWins: 1 },
      faults: { count: 0 },
    });
  });

  test("a file without rows is a fault", async () => {
    await expect(openPairs(file("no-rows"))).rejects.toThrow(/no-rows\.parquet: it has no row/);
  });
});

describe("lists", () => {
  test.each([
    ["semicolons", "prompt;image_0;image_1;label_0\np;a.png;b.png;1\n", [1]],
    ["tabs", "prompt\timage_0\timage_1\tlabel_0\np\ta.png\tb.png\t1\n", [1]],
    [
      "what a spreadsheet says first",
      "sep=;\r\nprompt;image_0;image_1;label_0\r\np, q;a.png;b.png;0,75\r\n",
      [0.75],
    ],
    ["line ends of CR", "prompt,image_0,image_1,label_0\rp,a.png,b.png,1\rq,a.png,b.png,0\r", [1, 0]],
    ["a byte order mark and capitals", "\ufeffPROMPT , Image 0,IMAGE-1,Label_0\np,a.png,b.png,1\n", [1]],
    ["blank rows and columns", "prompt,image_0,image_1,label_0,\np,a.png,b.png,1,\n,,,,\n ,,,, \n", [1]],
    ["per cents", "prompt,image_0,image_1,label_0,label_1\np,a.png,b.png,30 %,70%\n", [0.3]],
    ["truth values", "prompt,image_0,image_1,label_0\np,a.png,b.png,true\nq,a.png,b.png,False\n", [1, 0]],
    [
      "flags of all kinds",
      `prompt,image_0,image_1,label_0,has_label\n${["0", "0.0", "false", "False", "NO", "", "null", "1.0", "yes", "TRUE"].map((flag) => `p,a.png,b.png,1,${flag}\n`).join("")}`,
      [...Array<undefined>(7).fill(undefined), 1, 1, 1],
    ],
    [
      "an arena",
      "prompt,image_a,image_b,model_a,model_b,winner\np,a.png,b.png,x,y,model_a\nq,a.png,b.png,x,y,model_b\nr,a.png,b.png,x,y,tie (bothbad)\ns,a.png,b.png,x,y,y\n",
      [1, 0, 0.5, 0],
    ],
    ["votes by side", "prompt,left_image,right_image,left_votes,right_votes\np,a.png,b.png,3,1\n", [0.75]],
    [
      "the winner by number from 1",
      "prompt,image_1,image_2,winner\np,a.png,b.png,1\nq,a.png,b.png,2\n",
      [1, 0],
    ],
    [
      "the winner by number from 0",
      "prompt,image_0,image_1,winner\np,a.png,b.png,1\nq,a.png,b.png,0\n",
      [0, 1],
    ],
    [
      "what was voted",
      "prompt,left_image,right_image,vote_type\np,a.png,b.png,leftvote\nq,a.png,b.png,rightvote\nr,a.png,b.png,bothbad_vote\n",
      [1, 0, 0.5],
    ],
  ])("as CSV with %s", async (_, text, expected) => {
    expect(await labels(set({ "pairs.csv": text }))).toEqual(expected);
  });

  test("a row without names of columns is told of with what it has", async () => {
    const at = set({ "pairs.csv": "a cat;a.png;b.png;1\na dog;a.png;b.png;0\n" });
    await expect(openPairs(at)).rejects.toThrow(
      /first row should name the columns.*"a cat", "a\.png", "b\.png", "1"/,
    );
    const lacking = set({ "pairs.csv": "prompt;left;score\np;a.png;1\n" });
    await expect(openPairs(lacking)).rejects.toThrow(
      /no two images \(image_0 and image_1.*no preference.*its columns are prompt, left, score, with semicolons/,
    );
  });

  test("a fault of many rows is told once, with the first of them and their number", async () => {
    const row = JSON.stringify({ prompt: "p", image_0: "a.png", image_1: "b.png", label_0: "good" });
    const at = set({ "pairs.jsonl": `${row}\n`.repeat(29) });
    const error = await openPairSet(at).catch((thrown: Error) => thrown);
    expect((error as Error).message.match(/label_0 is/g)).toHaveLength(1);
    expect((error as Error).message).toMatch(
      /29 faults\.\n.*line 1; .*line 2; .*line 3; and 26 more: label_0 is "good", no number/,
    );
  });

  test.each([
    [
      "path1 is preferred, with a distribution of choices as text",
      { path1: "a.png", path2: "b.png", choice_dist: "[8, 2]", confidence: "0.9" },
      0.8,
    ],
    ["or as a list", { path1: "a.png", path2: "b.png", choice_dist: [3, 1] }, 0.75],
    ["or without it", { path1: "a.png", path2: "b.png", choice_dist: null, confidence: null }, 1],
    ["two labels", { file_path: ["a.png", "b.png"], human_preference: [0, 1] }, 0],
    [
      "ranks, the first is best",
      { image_path: ["a.png", "b.png"], rank: [1, 2], raw_annotations: [[1, 2]] },
      1,
    ],
    [
      "answers with their status",
      {
        image_1: "a.png",
        image_2: "b.png",
        preference: [
          { user_id: "u", value: "image_2", status: "submitted" },
          { value: "image_1", status: "discarded" },
        ],
      },
      0,
    ],
    [
      "images in records",
      { images: { image_1: { path: "a.png" }, image_2: { path: "b.png" } }, winner: "image_1" },
      1,
    ],
  ])("as JSON with %s", async (_, record, expected) => {
    const text = JSON.stringify([{ prompt: "p", ...record }]);
    expect(await labels(set({ "train.json": text }))).toEqual([expected]);
    // The same one a line, whatever the ending says.
    expect(await labels(set({ "train.json": `${text.slice(1, -1)}\n` }))).toEqual([expected]);
    expect(await labels(set({ "train.jsonl": text }))).toEqual([expected]);
  });

  test("a number that may mean either image is refused, not guessed", async () => {
    const text = "prompt,image_a,image_b,preference\np,a.png,b.png,1\nq,a.png,b.png,0\n";
    await expect(openPairSet(set({ "pairs.csv": text }))).rejects.toThrow(/may mean either image/);
  });

  test("a list of 100,000 pairs and a ranking of 5,000 images are read", async () => {
    const pair = JSON.stringify({ prompt: "p", path1: "a.png", path2: "b.png" });
    const many = await openPairs(set({ "train.json": `[${Array(100_000).fill(pair).join(",")}]` }));
    expect(many.blocks.reduce((sum, { rows }) => sum + rows, 0)).toBe(100_000);
    const images = Array.from({ length: 5000 }, (_, i) => `${i}.png`);
    const ranked = await openPairs(set({ "pairs.jsonl": `${JSON.stringify({ prompt: "p", images })}\n` }));
    const count = ranked.blocks.reduce((sum, { rows }) => sum + rows, 0);
    expect(count).toBe(16 * 5000 - (16 * 17) / 2);
    expect((await ranked.facts(0)).every(({ label0 }) => label0 === 1)).toBe(true);
  });

  test("deep nesting and records without end are refused", async () => {
    await expect(openPairs(set({ "a.jsonl": `${'{"a":'.repeat(1_000_000)}\n` }))).rejects.toThrow(
      /more than 64 deep/,
    );
    await expect(openPairs(set({ "a.json": `[{"prompt": "${"x".repeat(17 << 20)}"}]` }))).rejects.toThrow(
      /more than 16 MB/,
    );
    await expect(openPairs(set({ "a.json": '[{"prompt": "p"}' }))).rejects.toThrow(/does not end/);
    await expect(openPairs(set({ "a.json": "[1}2]" }))).rejects.toThrow(
      /a comma or the list's end is missing/,
    );
  });

  test("images outside of the set's folder are refused unless they are allowed", async () => {
    const away = set({}, ["x.png"]);
    const record = (image: string): string =>
      JSON.stringify({ prompt: "p", image_0: image, image_1: "b.png", label_0: 1 });
    for (const name of [join(away, "x.png"), "../x.png", "sub/../../x.png"]) {
      const at = set({ "pairs.jsonl": `${record(name)}\n` });
      await expect(openPairs(at)).rejects.toThrow(/lies outside of/);
      expect(await labels(at, { allowOutside: true })).toEqual([1]);
    }
    const linked = set({ "pairs.jsonl": `${record("link.png")}\n` });
    symlinkSync(join(away, "x.png"), join(linked, "link.png"));
    const decoded = async (options: OpenOptions): Promise<number> => {
      const source = await openPairs(linked, options);
      return (await checkPairs(source)).images.decoded;
    };
    expect(await decoded({})).toBe(1);
    expect(await decoded({ allowOutside: true })).toBe(2);
  });
});

describe("folders", () => {
  test.each([
    ["w and l", ["1_x/w/a.png", "1_x/l/a.png"], { "1_x/w/a.caption": "p", "1_x/l/a.txt": "p\n" }],
    ["win and lose, one caption", ["win/a.jpg", "lose/a.png"], { "win/a.CAPTION": "p" }],
    ["chosen and rejected", ["Chosen/a.png", "Rejected/a.png"], { "a.txt": "p" }],
    ["endings in capitals", ["A_W.PNG", "A_L.JPEG"], { "A_W.TXT": "p" }],
    ["a shared caption", ["a_w.png", "a_l.png"], { "a.caption": "p" }],
    ["words in names", ["a_win.png", "a_lose.webp"], { "a_win.txt": "p" }],
  ])("of images in %s", async (_, images, captions) => {
    const at = set(captions, images);
    const [pair] = await pairsOf(at);
    expect(pair).toMatchObject({ prompt: "p", label0: 1 });
    expect(pair?.image0).toMatchObject({ path: join(at, images[0] as string) });
    expect(pair?.image1).toMatchObject({ path: join(at, images[1] as string) });
  });

  test("with a half or without a pair are refused", async () => {
    await expect(openPairs(set({}, ["w/a.png", "l/a.png", "w/b.png"]))).rejects.toThrow(
      /\*\/b: there is no worse image/,
    );
    await expect(openPairs(set({}, ["a.png"]))).rejects.toThrow(/holds no preference pairs/);
  });
});

const there = existsSync(cases);
describe.skipIf(!there)("reported sets (skipped where ../shared/cases is not there)", () => {
  const training = async (path: string): Promise<number> => {
    const set = await openPairSet(join(cases, path));
    await set.close();
    return set.size;
  };

  test("flags as numbers leave pairs out", async () => {
    await expect(training("has-label-0-as-number/hl-int.parquet")).rejects.toThrow(/no pair is left/);
    expect(await training("has-label-0-as-number/q8-hasint.parquet")).toBeGreaterThan(0);
    expect(await training("has-label-0-as-number/c10-hasint.csv")).toBe(1);
    expect(await training("has-label-0-as-number/j7-hasint.jsonl")).toBe(1);
  });

  test.each(["q13-chosen", "q13b-prompt", "q14-listcap", "q3b-structpath", "q5-str", "q6-bool"])(
    "parquet %s is read",
    async (name) => {
      const source = await openPairs(join(cases, "parquet-columns", `${name}.parquet`));
      const report = await checkPairs(source);
      await source.close();
      expect(report.faults.shown).toEqual([]);
      expect(report.labels.labelled).toBe(report.pairs);
    },
  );

  test.each([
    "c11-tab.csv",
    "c12-percent.csv",
    "c2-semicolon.csv",
    "c3-header-case.csv",
    "c6-blanklast.csv",
    "c9-cr.csv",
    "j5-strlabel.jsonl",
    "j6-bool.jsonl",
  ])("the list %s is read", async (name) => {
    expect(await training(`csv-and-json-messages/${name}`)).toBe(1);
  });

  test("what has no pair says so", async () => {
    await expect(training("csv-and-json-messages/c8-nohead.csv")).rejects.toThrow(/should name the columns/);
    await expect(training("csv-and-json-messages/q16-empty.parquet")).rejects.toThrow(/it has no row/);
  });

  test.each([
    ["ko1", 2],
    ["ko2", 1],
    ["ko3", 1],
  ] as const)("kohya's folder %s is read", async (name, count) => {
    expect(await training(`kohya-caption-files/${name}`)).toBe(count);
  });
});
test.skipIf(there)("reported sets: skipped, ../shared/cases is not there", () => {});
