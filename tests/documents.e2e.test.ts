// What the documents say to type is typed: their code and commands run, on models small enough for a test.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRun } from "@spo/records";
import { openSafetensors, readSafetensors, writeSafetensors } from "@spo/torch";
import sharp from "sharp";
import { isTimeConditioning } from "spo";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../native/lib/run.js";
import { makeTinyWorld, PROMPTS, SIDE } from "./tiny-models.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const text = (path: string): string => readFileSync(join(root, path), "utf8");

/** The blocks of one language in a document, in order. */
const blocks = (path: string, language: string): string[] =>
  [...text(path).matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    ([, code]) => code as string,
  );

let folder: string;
const at = (...path: string[]): string => join(folder, ...path);

/** Runs a command in the folder; fails with its words unless it ends well. */
async function done(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, {
    cwd: folder,
    env: { OMP_NUM_THREADS: "1", NO_COLOR: "1" },
  });
  expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** Runs code as a file of a clone's root. */
async function runCode(code: string): Promise<string> {
  writeFileSync(at("block.mjs"), code);
  return done(process.execPath, ["block.mjs"]);
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-documents-"));
  for (const name of ["node_modules", "examples"]) symlinkSync(join(root, name), at(name));
  const world = await makeTinyWorld(at("world"));
  cpSync(world.model, at("sd15"), { recursive: true });
  writeFileSync(at("prompts.txt"), PROMPTS.join("\n"));
  // A plain CLIP: the preference model without what knows the time.
  cpSync(world.spm, at("PickScore_v1"), { recursive: true });
  const weights = [...readSafetensors(join(world.spm, "model.safetensors"))];
  writeSafetensors(
    at("PickScore_v1", "model.safetensors"),
    new Map(weights.filter(([name]) => !isTimeConditioning(name.replace(/^model\./, "")))),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the README's first lines of code draw a picture", async () => {
  await runCode(blocks("README.md", "ts")[0] as string);
  const picture = sharp(at("cherries.png"));
  const { width, height } = await picture.metadata();
  expect([width, height]).toEqual([64, 64]);
  // Some drawing: neither a blank nor one that went astray.
  for (const { stdev } of (await picture.stats()).channels) expect(stdev).toBeGreaterThan(10);
});

describe("the tutorial for own models, typed from its beginning to its end", () => {
  const TUTORIAL = "docs/tutorial-own-model.md";

  test("begins with a list of pairs", async () => {
    const [list] = blocks(TUTORIAL, "");
    mkdirSync(at("my-pairs"));
    writeFileSync(at("my-pairs", "pairs.csv"), list as string);
    for (const [name] of (list as string).matchAll(/[\w-]+\.png/g)) {
      const background = `hsl(${(name.length * 47 + name.charCodeAt(name.length - 5) * 90) % 360}, 80%, 50%)`;
      const image = sharp({ create: { width: SIDE, height: SIDE, channels: 3, background } });
      await image.png().toFile(at("my-pairs", name));
    }
  });

  test("imports, trains, post-trains and samples by its commands", async () => {
    // Its settings stay, but for how long and how large.
    const program = [
      'npx() { shift; case "$1 $2" in',
      '"train spm") set -- "$@" --steps 2 --batch 2 --eval-every 1 ;;',
      '"train spo") set -- "$@" --rounds 1 --steps 6 --threshold 0 ;;',
      'sample*) set -- "$@" --steps 2 --count 2 ;;',
      `esac; '${process.execPath}' '${join(root, "packages/cli/bin/spo.js")}' "$@"; }`,
      "set -e",
      ...blocks(TUTORIAL, "sh"),
    ];
    await done("bash", ["-c", program.join("\n")]);
    expect(readRun(at("runs/spm")).result).toMatchObject({ output: "runs/spm/model" });
    const steps = readRun(at("runs/spo")).events.filter(({ type }) => type === "step");
    expect(steps.length).toBeGreaterThan(0);
    expect(existsSync(at("runs/spo/model/pytorch_lora_weights.safetensors"))).toBe(true);
    const [base, spo] = ["base", "spo"].map((name) => readFileSync(at("samples", name, "00000-7.png")));
    expect(base).not.toEqual(spo);
  });

  test("leaves what the package's README trains and scores with", async () => {
    const [train, score, judge] = blocks("packages/spo/README.md", "js") as [string, string, string];
    rmSync(at("runs/spo"), { recursive: true });
    const short = "...spoPresets.sd15, rounds: 1, promptsPerRound: 1, steps: 6, threshold: 0,";
    expect(train).toContain("...spoPresets.sd15,");
    const losses = await runCode(train.replace("...spoPresets.sd15,", short));
    expect(losses).toMatch(/^1 0\.69/);
    const pixels = `import { Generator, randn } from "@spo/torch";\nconst pixels = randn([2, 3, 32, 32], { generator: new Generator(0) });`;
    const scored = await runCode(
      `${score}\n${pixels}\nconsole.log(scores(pixels, ["red apple", "blue fish"]).length);`,
    );
    expect(scored).toBe("2\n");
    const judged = await runCode(
      `${judge}\n${pixels}\nconsole.log(brightness.prepare(["a", "b"]).score({ image: () => pixels }, [0, 1]).shape);`,
    );
    expect(judged).toContain("2");
  });
});

test("the tutorial for a preference model runs by its commands, from images to a report", async () => {
  const program = [
    'npx() { shift; case "$1 $2" in',
    '"train spm") set -- "$@" --steps 2 --batch 2 --eval-pairs 4 --eval-every 1 ;;',
    'sample*) set -- "$@" --steps 2 ;;',
    `esac; '${process.execPath}' '${join(root, "packages/cli/bin/spo.js")}' "$@"; }`,
    "set -e",
    ...blocks("docs/tutorial-train-spm.md", "sh"),
  ];
  const said = await done("bash", ["-c", program.join("\n")]);
  expect(said).toContain("48 in parquet; ");
  expect(readRun(at("runs/own/spm")).result).toMatchObject({ output: "runs/own/spm/model" });
  expect(existsSync(at("runs/own/spm/report/report.html"))).toBe(true);
});

describe.each([
  ["docs/tutorial-spo-sd15.md", "sd15", "runs/spo"],
  ["docs/tutorial-sdxl.md", "sdxl", "runs/sdxl"],
] as const)("the tutorial %s", (tutorial, family, result) => {
  test("runs by its commands, on a small model", async () => {
    const tiny = await makeTinyWorld(at(`tiny-${family}`), family);
    const links = {
      [family]: tiny.model,
      spm: tiny.spm,
      scorer: at("PickScore_v1"),
      "pairs.parquet": tiny.pairs,
    };
    for (const [name, target] of Object.entries(links)) {
      rmSync(at(name), { recursive: true, force: true });
      symlinkSync(target, at(name));
    }
    for (const run of ["runs/spm", result]) rmSync(at(run), { recursive: true, force: true });
    writeFileSync(at("held-out.txt"), "purple grape\n");
    // Its settings stay, but for how long.
    const program = [
      'npx() { shift; case "$1 $2" in',
      '"train spm") set -- "$@" --steps 2 --batch 2 --micro-batch 2 --eval-every 1 ;;',
      '"train spo") set -- "$@" --rounds 1 --prompts-per-round 1 --threshold 0 ;;',
      'sample*) set -- "$@" --steps 2 ;;',
      `esac; '${process.execPath}' '${join(root, "packages/cli/bin/spo.js")}' "$@"; }`,
      "set -e",
      ...blocks(tutorial, "sh"),
    ];
    await done("bash", ["-c", program.join("\n")]);
    expect(existsSync(at(result, "report/report.html"))).toBe(true);
    const { events } = readRun(at(result));
    const shown = events.flatMap((event) => (event.type === "sample" ? event.images : []));
    expect(new Set(shown.map(({ prompt }) => prompt))).toEqual(new Set(["purple grape"]));
  });
});

test("the library's pages train by their code, and with a judge of the program's own", async () => {
  const [train, judge] = blocks("docs/library.md", "js") as [string, string];
  cpSync(at("world", "spm"), at("runs/spm/model"), { recursive: true });
  const small = "rounds: 1, promptsPerRound: 1, steps: 6, candidates: 2,";
  const said = await runCode(
    train.replace("...spoPresets.sd15,", `...spoPresets.sd15, ${small} threshold: 0,`),
  );
  expect(said).toContain("round 1 of 1: loss 0.69");
  expect(said).toContain("the LoRA is in runs/library/model");
  expect(readRun(at("runs/library/model/run")).result).toBeDefined();
  expect(await runCode(judge.replace("rounds: 1,", small))).toBe("runs/bright/model\n");
});

test("the metric of docs/evaluation.md scores sets of images, by its command and from its code", async () => {
  const EVALUATION = "docs/evaluation.md";
  const [metric, code] = blocks(EVALUATION, "js") as [string, string];
  writeFileSync(at("contrast.mjs"), metric);
  for (const [name, light] of [
    ["before", 60],
    ["after", 100],
  ] as const) {
    mkdirSync(at(name));
    for (const i of [0, 1, 2]) {
      const dark = sharp({ create: { width: 8, height: 8, channels: 3, background: "black" } });
      const background = `hsl(0, 0%, ${light - i}%)`;
      const half = await sharp({ create: { width: 4, height: 8, channels: 3, background } })
        .png()
        .toBuffer();
      await dark
        .composite([{ input: half, left: 0, top: 0 }])
        .png()
        .toFile(at(name, `${i}.png`));
      writeFileSync(at(name, `${i}.txt`), `prompt ${i}`);
    }
  }
  const command = blocks(EVALUATION, "sh").find((block) => block.includes("./contrast.mjs")) as string;
  const program = `npx() { shift; '${process.execPath}' '${join(root, "packages/cli/bin/spo.js")}' "$@"; }\n${command}`;
  const said = await done("bash", ["-c", program]);
  expect(said).toMatch(
    /contrast\n {2}before {2}7\d.*\n {2}after {3}12\d.*better in 100.% .* of 3 pairs, p = 0.25/,
  );
  expect(await runCode(code)).toContain("wins: { value: 1, low: 1, high: 1 }");
});

describe("the pages on images and layouts", () => {
  /** Types a page's commands, with a tiny model in the place of the published one. */
  async function typed(page: string): Promise<void> {
    const program = [
      'npx() { shift; case "$1" in',
      'sample) set -- "$@" --steps 2 ;;',
      'convert) set -- "$@" --configs ./sd15 ;;',
      "esac",
      'case "$*" in *2048*) set -- "$@" --width 32 --height 24 ;; esac',
      'case "$*" in *--judge*) set -- "$@" --first-branch 1 ;; esac',
      `'${process.execPath}' '${join(root, "packages/cli/bin/spo.js")}' "$@"; }`,
      "set -e",
      "cd pages",
      ...blocks(page, "sh"),
    ];
    await done("bash", ["-c", program.join("\n")]);
  }

  beforeAll(() => {
    mkdirSync(at("pages", "runs", "spo", "model"), { recursive: true });
    for (const place of [["sd15"], ["runs", "a", "model"], ["runs", "b", "model"]])
      cpSync(at("world", "model"), at("pages", ...place), { recursive: true });
    cpSync(at("world", "spm"), at("pages", "runs", "spm", "model"), { recursive: true });
    cpSync(at("world", "lora.safetensors"), at("pages", "lora.safetensors"));
    mkdirSync(at("pages", "loras"));
    cpSync(at("world", "lora.safetensors"), at("pages", "loras", "watercolour.safetensors"));
    cpSync(
      at("world", "lora.safetensors"),
      at("pages", "runs", "spo", "model", "pytorch_lora_weights.safetensors"),
    );
  });

  test("draw all that docs/sample.md says", async () => {
    await typed("docs/sample.md");
    const made = (name: string) => readdirSync(at("pages", "samples", name)).sort();
    expect(made("six")).toHaveLength(7);
    expect(made("file")).toEqual(["00000-0.png", "00001-12.png"]);
    const { width, height } = await sharp(at("pages", "samples", "tiles", "00000-0.png")).metadata();
    expect([width, height]).toEqual([32, 24]);
  });

  test("convert all that docs/convert.md says, by command and by code", async () => {
    await typed("docs/convert.md");
    const [code] = blocks("docs/convert.md", "js");
    await runCode(`process.chdir("pages");\n${code}`);
    const read = (path: string) =>
      [...readSafetensors(at("pages", path))].map(([name, x]) => [name, x.toNumbers()]);
    expect(read("merged.safetensors")).toEqual(read("sd15-with-lora.safetensors"));
    expect(read("my-lora.safetensors")).toEqual(read("lora.safetensors"));
    const unet = "unet/diffusion_pytorch_model.safetensors";
    expect(read(`sd15-again/${unet}`)).toEqual(read(`sd15/${unet}`));
  });

  test("bring a run's LoRA to the interfaces as docs/lora-in-comfyui-and-diffusers.md says", async () => {
    await typed("docs/lora-in-comfyui-and-diffusers.md");
    using file = openSafetensors(at("pages", "spo-lora.safetensors"));
    expect(file.metadata["modelspec.title"]).toBe("SPO");
    expect(existsSync(at("pages", "sd15-spo.safetensors"))).toBe(true);
    expect(existsSync(at("pages", "samples", "spo", "00000-0.png"))).toBe(true);
  });
});
