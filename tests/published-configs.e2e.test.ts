// Folders as they were reported, by the command line: what diffusers draws of them, and that every command takes what `sample` takes.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const shared = fileURLToPath(new URL("../../shared", import.meta.url));
const there =
  existsSync(join(shared, "cases", "sd15-clip-sample-true")) && existsSync(join(shared, "fixtures"));

const temporary = mkdtempSync(join(tmpdir(), "spo-configs-"));
afterAll(() => rmSync(temporary, { recursive: true }));

const pixelsOf = (file: string): Promise<Buffer> => sharp(file).removeAlpha().raw().toBuffer();

describe.skipIf(!there)("reported folders (skipped where ../shared is not there)", () => {
  const folderOf = (name: string, files: Readonly<Record<string, string>> = {}): string => {
    const folder = join(temporary, name.replace("/", "-"));
    cpSync(join(shared, "fixtures", "tiny-sd15"), folder, { recursive: true });
    for (const [file, to] of Object.entries(files))
      cpSync(join(shared, "cases", name, file), join(folder, to));
    return folder;
  };
  const draw = async (model: string, steps: number): Promise<{ file: string; stderr: string }> => {
    const out = `${model}-out`;
    const drawing = ["sample", "red apple", "--model", model, "--seed", "7", "--output", out];
    const ended = await cli([...drawing, "--steps", String(steps)]);
    expect(ended.code, ended.stderr).toBe(0);
    return { file: ended.stdout.trim(), stderr: ended.stderr };
  };

  test.each([
    ["sd15-clip-sample-true", "clip_sample true is read as false"],
    ["sd15-steps-offset-0/f2-pndm-offset0-explicit", "steps_offset 0 is read as 1"],
    ["sd15-steps-offset-0/f4-ddim-offset0", "steps_offset 0 is read as 1"],
    ["sd15-steps-offset-0/f6-eulera-offset0-leading", "steps_offset 0 is read as 1"],
  ])("%s is drawn as diffusers draws it", async (name, warning) => {
    const files = {
      "scheduler_config.json": "scheduler/scheduler_config.json",
      "model_index.json": "model_index.json",
    };
    const { file, stderr } = await draw(folderOf(name, files), 5);
    expect(stderr).toContain(warning);
    const [drawn, wanted] = await Promise.all(
      [file, join(shared, "cases", name, "expected-diffusers.png")].map(pixelsOf),
    );
    expect(drawn).toHaveLength((wanted as Buffer).length);
    const off = (drawn as Buffer).reduce(
      (most, value, i) => Math.max(most, Math.abs(value - ((wanted as Buffer)[i] as number))),
      0,
    );
    expect(off).toBeLessThanOrEqual(1);
  });

  test("index-and-scheduler-disagree is drawn by the index's scheduler", async () => {
    const name = "index-and-scheduler-disagree";
    const { stderr } = await draw(
      folderOf(name, { "scheduler_config.json": "scheduler/scheduler_config.json" }),
      4,
    );
    expect(stderr).toContain("model_index.json says PNDMScheduler");
  });

  test("old-unet-sample-size is drawn at 64×64 latents", async () => {
    const folder = folderOf("old-unet-sample-size");
    const path = join(folder, "unet", "config.json");
    const config = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...config, _diffusers_version: "0.6.0" }));
    const { file } = await draw(folder, 1);
    expect(await sharp(file).metadata()).toMatchObject({ width: 256, height: 256 });
  });
});
test.skipIf(there)("reported folders: skipped, ../shared is not there", () => {});

describe("a folder with clip_sample, steps_offset 0 and no betas", () => {
  let world: TinyWorld;
  beforeAll(async () => {
    world = await makeTinyWorld(join(temporary, "world"));
    const config = { _class_name: "DDIMScheduler", clip_sample: true, steps_offset: 0 };
    writeFileSync(join(world.model, "scheduler", "scheduler_config.json"), JSON.stringify(config));
  });

  test.each<[string, (world: TinyWorld) => string[]]>([
    [
      "train dpo",
      ({ model, pairs }) => [
        "train",
        "dpo",
        "--model",
        model,
        "--pairs",
        pairs,
        "--steps",
        "1",
        "--batch",
        "2",
        "--eval-pairs",
        "0",
        "--run",
        join(temporary, "dpo"),
      ],
    ],
    [
      "train spo",
      ({ model, spm, prompts }) => [
        "train",
        "spo",
        "--model",
        model,
        "--spm",
        spm,
        "--prompts",
        prompts,
        "--rounds",
        "1",
        "--steps",
        "3",
        "--first-branch",
        "1",
        "--prompts-per-round",
        "1",
        "--samples",
        "0",
        "--run",
        join(temporary, "spo"),
      ],
    ],
    ["plan spo", ({ model, spm }) => ["plan", "spo", "--model", model, "--spm", spm]],
    [
      "sample",
      ({ model }) => [
        "sample",
        "a cat",
        "--model",
        model,
        "--steps",
        "2",
        "--sampler",
        "DPM++ 2M Karras",
        "--output",
        join(temporary, "karras"),
      ],
    ],
  ])("is taken by %s", async (_, args) => {
    const { code, stderr } = await cli(args(world));
    expect(code, stderr).toBe(0);
  });

  test("the PNG has the names that the web UI writes, and a name that is not here is refused before anything is loaded", async () => {
    const bytes = readFileSync(join(temporary, "karras", "00000-0.png")).toString("utf8");
    expect(bytes).toContain("Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale");
    const { code, stderr } = await cli(["sample", "a cat", "--model", world.model, "--sampler", "UniPC"]);
    expect(code).toBe(2);
    expect(stderr).toContain("The nearest is dpmpp-2m.");
  });
});
