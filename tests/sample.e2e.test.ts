import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, saveSingleFile } from "@spo/diffusion";
import sharp from "sharp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-sample-"));
  world = await makeTinyWorld(at("world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pixelsOf = (file: string): Promise<Buffer> => sharp(file).raw().toBuffer();

test("images that share a call are those made alone, to one level of rounding", async () => {
  for (const batch of ["1", "3"]) {
    const ended = await cli([
      ...["sample", "red apple", "green leaf", "--model", world.model, "--output", at(`batch-${batch}`)],
      ...["--count", "2", "--steps", "4", "--eta", "1", "--batch", batch],
      ...["--batch-invariant", "off"],
    ]);
    expect(ended.code).toBe(0);
    expect(ended.stdout.trim().split("\n")).toHaveLength(4);
  }
  const names = readdirSync(at("batch-1"));
  expect(names).toEqual(["00000-0.png", "00001-1.png", "00002-0.png", "00003-1.png"]);
  for (const name of names) {
    const [one, three] = await Promise.all([1, 3].map((batch) => pixelsOf(join(at(`batch-${batch}`), name))));
    const differences = one?.map((value, i) => Math.abs(value - (three?.[i] as number))) as Buffer;
    expect(Math.max(...differences), name).toBeLessThanOrEqual(1);
  }
  expect(await pixelsOf(join(at("batch-1"), names[0] as string))).not.toEqual(
    await pixelsOf(join(at("batch-1"), names[1] as string)),
  );
});

test("prompt lines have their own settings, adapters have weights, and the file says how it was made", async () => {
  writeFileSync(
    at("prompts.txt"),
    "# kohya's syntax\na red apple --d 5 --n blurry — ill-lit --s 3\n\nblue fish --w 24 --h 16\n",
  );
  const sample = (out: string, ...more: string[]): ReturnType<typeof cli> =>
    cli([
      ...[
        "sample",
        "--prompts",
        at("prompts.txt"),
        "--model",
        world.model,
        "--output",
        at(out),
        "--steps",
        "4",
      ],
      ...["--json", ...more],
    ]);
  const ended = await sample("plain", "--grid");
  expect(ended.code).toBe(0);
  const { schema, images, grid } = JSON.parse(ended.stdout);
  expect(schema).toBe("spo.sample/1");
  expect(images).toMatchObject([
    { prompt: "a red apple", negative: "blurry — ill-lit", seed: 5, steps: 3, width: 16, height: 16 },
    { prompt: "blue fish", negative: "", seed: 0, steps: 4, width: 24, height: 16 },
  ]);
  expect(await sharp(images[1].file).metadata()).toMatchObject({ format: "png", width: 24, height: 16 });
  expect((await sharp(grid).metadata()).format).toBe("png");
  const bytes = readFileSync(images[0].file).toString("utf8");
  expect(bytes).toContain(
    "Negative prompt: blurry — ill-lit\nSteps: 3, Sampler: DDIM, CFG scale: 7.5, Seed: 5, Size: 16x16",
  );

  const pixels = async (out: string, lora: string): Promise<Buffer> => {
    const [first] = JSON.parse((await sample(out, "--lora", lora)).stdout).images;
    return pixelsOf(first.file);
  };
  const plain = await pixelsOf(images[0].file);
  expect(await pixels("lora-0", `${world.lora}:0`)).toEqual(plain);
  expect(await pixels("lora-1", `${world.lora}:0.7`)).not.toEqual(plain);
});

test("with prompts that were encoded before, images have the same bits, whatever the negative prompt", async () => {
  const sample = (out: string, ...more: string[]): ReturnType<typeof cli> =>
    cli([
      ...["sample", "red apple", "green leaf --n blurry", "--model", world.model, "--output", at(out)],
      ...["--steps", "3", ...more],
    ]);
  const cache = ["--prompt-cache", at("prompts")];
  for (const ended of [await sample("plain-texts"), await sample("kept-texts", ...cache)])
    expect(ended.code, ended.stderr).toBe(0);
  for (const name of readdirSync(at("plain-texts")))
    expect(await pixelsOf(join(at("kept-texts"), name)), name).toEqual(
      await pixelsOf(join(at("plain-texts"), name)),
    );
  expect(readdirSync(at("prompts"))).toHaveLength(4); // a prompt and what it is guided away from, twice
  const refused = await sample(
    "refused",
    ...cache,
    "--grid-x",
    `checkpoint=${world.model}`,
    "--grid-y",
    "prompt",
  );
  expect(refused.stderr).toContain("--grid of checkpoint changes them");
});

test("images that are there are not written over", async () => {
  for (let call = 0; call < 2; call++)
    expect(
      (await cli(["sample", "white cloud", "--model", world.model, "--output", at("twice"), "--steps", "2"]))
        .code,
    ).toBe(0);
  expect(readdirSync(at("twice"))).toEqual(["00000-0.png", "00001-0.png"]);
});

test("a judge chooses among candidates: what it costs is told, and the file says who chose", async () => {
  writeFileSync(
    at("bright.mjs"),
    "export default { prepare: () => ({ score: ({ image }) => image().mean([1, 2, 3]) }) };",
  );
  const sample = (out: string, ...more: string[]): ReturnType<typeof cli> =>
    cli([
      ...[
        "sample",
        "red apple",
        "blue fish --w 24 --h 16 --s 3",
        "--model",
        world.model,
        "--output",
        at(out),
      ],
      ...["--steps", "4", "--guidance-scale", "2", "--json", ...more],
    ]);
  const judge = ["--judge", at("bright.mjs"), "--candidates", "8", "--first-branch", "1"];
  const [plain, judged] = [await sample("unjudged", "--eta", "1"), await sample("judged", ...judge)];
  expect(judged.code, judged.stderr).toBe(0);
  const { images, passes } = JSON.parse(judged.stdout);
  // The first image: two steps of one latent and two of eight; the second: two and one. Two sides of guidance each.
  expect(passes).toMatchObject({ unetSampling: 2 * (2 + 16 + 2 + 8), vaeDecode: 8 * (3 + 2) });
  expect(judged.stderr).toContain(
    "an image took 28 passes of the denoiser, 20 decodes and 0 looks of the judge",
  );
  expect(images[0]).toMatchObject({
    ...{
      sampler: "ddim",
      eta: 1,
      judge: { name: "bright.mjs", candidates: 8, firstBranch: 1, innerSteps: 0 },
    },
  });
  const brightness = async (name: string, file: string): Promise<number> => {
    const pixels = await pixelsOf(join(at(name), file));
    return pixels.reduce((sum, value) => sum + value, 0) / pixels.length;
  };
  for (const file of readdirSync(at("judged")))
    expect(await brightness("judged", file), file).toBeGreaterThan(await brightness("unjudged", file));
  expect(plain.code).toBe(0);
  expect(JSON.parse(plain.stdout).passes).toBeUndefined();

  const refused = async (...more: string[]): Promise<string> => {
    const ended = await sample("never", ...judge, ...more);
    expect(ended.code).toBe(2);
    return ended.stderr;
  };
  expect(await refused("--sampler", "euler")).toContain("euler is another sampler");
  expect(await refused("--last-branch", "0")).toContain(
    "Candidates from step 1 to 0: with 4 steps there is none",
  );
});

test("a grid draws each place with its own settings, and is written as data, page and picture", async () => {
  const lora = world.lora;
  const grid = (...more: string[]) =>
    cli([
      ...[
        "sample",
        "red apple",
        "--model",
        world.model,
        "--steps",
        "2",
        "--output",
        at("grid"),
        "--json",
        ...more,
      ],
    ]);
  const sides = ["--lora", lora, "--grid-x", "guidance=1,7", "--grid-y", "lora=0,2"];
  expect((await grid(...sides)).code).toBe(0);
  const { axes, images } = JSON.parse(readFileSync(join(at("grid"), "grid.json"), "utf8"));
  expect(axes.map(({ name }: { name: string }) => name)).toEqual(["guidance", "lora"]);
  const found = new Map<string, Buffer>();
  for (const { file, at: place, parameters } of images) {
    expect([parameters.guidance, parameters.loras[0].weight]).toEqual([[1, 7][place[0]], [0, 2][place[1]]]);
    found.set(String(place), await pixelsOf(join(at("grid"), file)));
  }
  expect(new Set([...found.values()].map((pixels) => pixels.toString("hex"))).size).toBe(4);
  // Without a strength the adapter is not there.
  const plain = await cli([
    ...["sample", "red apple", "--model", world.model, "--steps", "2", "--output", at("no-grid")],
    ...["--guidance-scale", "7"],
  ]);
  expect(await pixelsOf(plain.stdout.trim())).toEqual(found.get("1,0"));
  expect(readFileSync(join(at("grid"), "grid.html"), "utf8")).toContain("guidance 7, lora 2");
  expect((await sharp(join(at("grid"), "grid.png")).metadata()).format).toBe("png");
  expect(JSON.parse((await grid(...sides)).stdout)).toMatchObject({ code: "USAGE" });

  // A LoRA, a model in one file and a folder of another family, each as it draws alone.
  const xl = (await makeTinyWorld(at("xl"), "sdxl")).model;
  saveSingleFile(at("one.safetensors"), loadTextToImage(world.model).models);
  const values = [`${lora}:2`, at("one.safetensors"), xl];
  const drawn = ["red apple", "--model", world.model, "--configs", world.model, "--steps", "2"];
  const compared = await cli([
    ...["sample", ...drawn, "--guidance-scale", "7", "--output", at("models")],
    ...["--grid-x", `checkpoint=${values}`],
  ]);
  expect(compared.code).toBe(0);
  const alone = await cli([
    ...[
      "sample",
      "red apple",
      "--model",
      xl,
      "--steps",
      "2",
      "--guidance-scale",
      "7",
      "--output",
      at("xl-alone"),
    ],
  ]);
  const models = JSON.parse(readFileSync(join(at("models"), "grid.json"), "utf8")) as {
    images: { file: string; at: [number]; parameters: { model: string } }[];
  };
  const pictures = models.images.toSorted((a, b) => a.at[0] - b.at[0]);
  expect(pictures.map(({ parameters }) => parameters.model)).toEqual(["model", values[1], xl]);
  expect(await Promise.all(pictures.map(({ file }) => pixelsOf(join(at("models"), file))))).toEqual([
    found.get("1,1"),
    found.get("1,0"),
    await pixelsOf(alone.stdout.trim()),
  ]);
  const none = await cli([
    ...["sample", ...drawn, "--output", at("none"), "--json", "--grid-x", `checkpoint=${xl},${at("gone")}`],
  ]);
  expect(JSON.parse(none.stdout)).toMatchObject({ code: "DATA", message: expect.stringMatching(/gone/) });
});
