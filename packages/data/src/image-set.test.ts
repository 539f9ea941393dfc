import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, test } from "vitest";
import { readImageSet } from "./image-set.js";
import { withPngText } from "./png-text.js";

const root = mkdtempSync(join(tmpdir(), "spo-image-set-"));
afterAll(() => rmSync(root, { recursive: true }));

const png = await sharp({ create: { width: 2, height: 2, channels: 3, background: "#123456" } })
  .png()
  .toBuffer();

function folder(name: string, files: Record<string, Uint8Array | string>): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const [file, content] of Object.entries(files)) writeFileSync(join(path, file), content);
  return path;
}

const short = (path: string) =>
  readImageSet(path).map(({ path: file, ...rest }) => ({ file: basename(file), ...rest }));

describe("images and their prompts", () => {
  test("come from a list beside them, by any of its usual names", () => {
    const path = folder("listed", {
      "a.png": png,
      "b.png": png,
      "images.jsonl":
        '{"file": "b.png", "prompt": "bee", "seed": 3, "image": 1}\n\n{"file_name": "a.png", "text": "ay"}\n',
    });
    const expected = [
      { file: "b.png", prompt: "bee", seed: 3, image: 1 },
      { file: "a.png", prompt: "ay", seed: undefined, image: undefined },
    ];
    expect(short(path)).toEqual(expected);
    expect(short(join(path, "images.jsonl"))).toEqual(expected);
  });

  test("come from texts beside them or in them, in the order of their numbers", () => {
    const ours = withPngText(png, {
      parameters: "x\nSteps: 3",
      spo: JSON.stringify({ prompt: "ours", seed: 7 }),
    });
    const webui = withPngText(png, { parameters: "two\nlines\nNegative prompt: bad\nSteps: 20, Seed: 1" });
    const path = folder("texts", {
      "10.png": ours,
      "9.png": webui,
      "2.png": png,
      "2.txt": "a text\n",
      "grid-2.png": png,
    });
    expect(short(path)).toEqual([
      { file: "2.png", prompt: "a text" },
      { file: "9.png", prompt: "two\nlines" },
      { file: "10.png", prompt: "ours", seed: 7 },
    ]);
  });

  test("are refused with the name of every one that lacks a prompt", () => {
    const path = folder("bare", { "a.png": png, "b.jpg": "no image", "c.png": png, "c.txt": "there" });
    expect(() => readImageSet(path)).toThrow("2 faults.\n  a.png; b.jpg: has no prompt");
  });

  test("are refused with every line of a list that is wrong", () => {
    const path = folder("wrong", {
      "images.jsonl":
        '{"file": "none.png", "prompt": "x"}\n{"prompt": "x"}\nnull\n{"file": "images.jsonl"}\n{\n',
    });
    expect(() => readImageSet(path)).toThrow(
      /line 1: none.png does not exist.*line 2; line 3: names no file.*line 4: images.jsonl has no prompt.*line 5: no JSON/s,
    );
  });

  test("are refused where there are none", () => {
    expect(() => readImageSet(folder("empty", { "x.txt": "x" }))).toThrow("there is no image");
    expect(() => readImageSet(join(root, "nothing"))).toThrow("does not exist");
  });
});
