import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, words } from "./cli.js";
import { makeTinyWorld, PROMPTS, saveTinySd3, type TinyWorld } from "./tiny-models.js";

const golden = fileURLToPath(new URL("./golden/small/rewards", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "spo-eval-"));
const at = (name: string): string => join(folder, name);
let world: TinyWorld;

const bright = `
const mean = ({ data }) => data.reduce((sum, value) => sum + value, 0) / data.length;
export default { name: "bright", score: (images) => images.map(mean) };
`;

beforeAll(async () => {
  world = await makeTinyWorld(at("world"));
  writeFileSync(at("bright.mjs"), bright);
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Figures {
  value: number;
  low: number;
  high: number;
  difference?: { value: number };
  wins?: { value: number };
  signTest?: number;
}
interface Evaluation {
  schema: string;
  featuresOf: string;
  sets: {
    name: string;
    images: number;
    pairs?: number;
    metrics: Record<string, Figures>;
    diversity?: Figures;
    drift?: Figures;
  }[];
  settings: Record<string, unknown>;
  images: { model: string; prompt: string; seed: number; file: string; scores: Record<string, number> }[];
}

const SETTINGS = words("--steps 3 --guidance-scale 3 --seeds 0,1 --json");
const metrics = (): string =>
  `spm:${world.spm},./bright.mjs,clip:${join(golden, "clip")},aesthetic:${join(golden, "aesthetic-head.pth")},clip=${join(golden, "clip")},hps:${join(golden, "open-clip/tiny_hps.pt")},tokenizer=${join(golden, "clip")}`;
const evaluate = (models: string[], ...rest: string[]) =>
  cli(["eval", ...models, "--metrics", metrics(), ...rest, ...SETTINGS], { cwd: folder });

describe("spo eval", () => {
  test("stopped by Ctrl-C exits with 130 and says that the same command goes on", async () => {
    writeFileSync(
      at("stops.mjs"),
      'export default { name: "stops", score(images) { process.kill(process.pid, "SIGINT"); return images.map(() => 0); } };',
    );
    const settings = ["--prompts", world.prompts, "--steps", "1", "--output", "stopped", "--seeds", "0"];
    const ended = await cli(
      ["eval", world.model, "--metrics", "./stops.mjs", "--score-batch", "1", ...settings],
      {
        cwd: folder,
      },
    );
    expect(ended).toMatchObject({ code: 130, stdout: "" });
    expect(ended.stderr).toContain("What is drawn is kept in stopped: the same command goes on from there.");
    expect(readdirSync(at("stopped"))).toEqual(["images"]);
  });

  test("compares a model with and without a LoRA by every metric, keeps all figures, and goes on with what is there", async () => {
    const models = [`${world.model},name=base`, `${world.model},lora=${world.lora}:0.5,name=lora half`];
    const ended = await evaluate(models, "--prompts", world.prompts, "--output", "both");
    expect(ended).toMatchObject({ code: 0 });
    const { schema, sets, images, featuresOf } = JSON.parse(ended.stdout) as Evaluation;
    expect(schema).toBe("spo.eval/2");
    expect(featuresOf).toBe("spm");
    expect(sets.map(({ name, pairs }) => [name, pairs])).toEqual([
      ["base", undefined],
      ["lora half", 10],
    ]);
    for (const { metrics: figures, diversity } of sets) {
      expect(Object.keys(figures)).toEqual(["spm", "bright", "clip", "aesthetic", "hps"]);
      for (const { value, low, high } of Object.values(figures)) {
        expect(low).toBeLessThanOrEqual(value);
        expect(high).toBeGreaterThanOrEqual(value);
      }
      expect(diversity?.value).toBeGreaterThan(0);
    }
    expect(sets[1]?.drift?.value).toBeGreaterThan(0);

    // The figures are those of the images, which are those of the files.
    const scores = readFileSync(at("both/scores.jsonl"), "utf8").trim().split("\n");
    expect(scores.map((line) => JSON.parse(line) as unknown)).toEqual(images);
    expect(images).toHaveLength(2 * PROMPTS.length * 2);
    const mean = (model: string): number => {
      const own = images.filter((image) => image.model === model);
      return own.reduce((sum, image) => sum + (image.scores.bright as number), 0) / own.length;
    };
    expect(sets[0]?.metrics.bright?.value).toBeCloseTo(mean("base"), 9);
    expect(sets[1]?.metrics.bright?.difference?.value).toBeCloseTo(mean("lora half") - mean("base"), 9);
    expect(readFileSync(at("both/prompts.csv"), "utf8").split("\n")[0]).toBe(
      "model,prompt,images,spm,bright,clip,aesthetic,hps",
    );
    expect(readFileSync(at("both/report.html"), "utf8")).toContain("lora half against base");

    const drawn = readdirSync(at("both/images/base")).filter((name) => name.endsWith(".png"));
    expect(drawn).toHaveLength(PROMPTS.length * 2);
    rmSync(join(at("both/images/base"), drawn[3] as string));
    const before = statSync(join(at("both/images/base"), drawn[0] as string)).mtimeMs;
    const again = await evaluate(models, "--prompts", world.prompts, "--output", "both");
    expect(again.stdout).toBe(ended.stdout); // also the image that was drawn anew
    expect(statSync(join(at("both/images/base"), drawn[0] as string)).mtimeMs).toBe(before);

    const other = await evaluate(models, "--prompts", world.prompts, "--output", "both", "--negative", "x");
    expect(other.code).toBe(2);
    expect(other.stderr).toContain("has images of another evaluation: it differs in negativePrompt");

    // Without an image the folder is nobody's: the run before failed ahead of its first.
    for (const name of drawn) rmSync(join(at("both/images/base"), name), { force: true });
    rmSync(join(at("both/images/base"), "images.jsonl"));
    const anew = await evaluate(
      [models[0] as string],
      "--prompts",
      world.prompts,
      "--output",
      "both",
      "--negative",
      "x",
    );
    expect(anew).toMatchObject({ code: 0 });
  });

  test("scores images that are there, of spo sample and of others, against each other", async () => {
    for (const out of ["a", "b"]) {
      const seed = out === "a" ? "0" : "5";
      const ended = await cli(
        [
          "sample",
          "--model",
          world.model,
          "--prompts",
          world.prompts,
          "--output",
          out,
          "--seed",
          seed,
          "--steps",
          "2",
          "--grid",
        ],
        { cwd: folder },
      );
      expect(ended).toMatchObject({ code: 0 });
    }
    const ended = await cli(
      [
        "eval",
        "images:a",
        "images:b,name=other seeds",
        "--metrics",
        `./bright.mjs,spm:${world.spm},tokenizer=${join(world.model, "tokenizer")}`,
        "--output",
        "sets",
      ],
      { cwd: folder },
    );
    expect(ended).toMatchObject({ code: 0 });
    // Seeds differ, so nothing is paired, and that is said.
    expect(ended.stderr).toContain("there are no pairs");
    expect(ended.stdout).toMatch(/bright\n {2}a .*\n {2}other seeds/);
    expect(ended.stdout.trim().split("\n").at(-1)).toBe("sets/report.html");
  });

  test("goes from a finished training to its figures, each model drawing as it usually does", async () => {
    saveTinySd3(at("flow"));
    const trained = await cli(
      [
        ...["train", "dpo", "--model", world.model, "--pairs", world.pairs, "--run", "dpo"],
        ...words("--steps 2 --batch 2 --eval-pairs 0"),
      ],
      { cwd: folder },
    );
    expect(trained).toMatchObject({ code: 0 });
    const ended = await cli(
      [
        "eval",
        ...[world.model, "dpo", "flow", "--metrics", "./bright.mjs", "--prompts", world.prompts],
        ...words("--output trained --steps 2 --seeds 0 --json"),
      ],
      { cwd: folder },
    );
    expect(ended).toMatchObject({ code: 0 });
    const { sets, settings } = JSON.parse(ended.stdout) as Evaluation;
    expect(sets.map(({ name }) => name)).toEqual(["model", "dpo", "flow"]);
    expect(settings).toMatchObject({
      guidance: { model: 7.5, dpo: 7.5, flow: 7 },
      sampler: { model: "ddim", dpo: "ddim", flow: "euler" },
    });
    expect(ended.stderr).toContain("7.5 (model), 7.5 (dpo), 7 (flow)");
    expect(sets[1]?.diversity).toBeUndefined(); // brightness has no features
  });

  test.each([
    [
      "a text encoder is no scorer",
      () => [
        "eval",
        world.model,
        "--metrics",
        `pickscore:${join(world.model, "text_encoder")}`,
        "--prompts",
        world.prompts,
      ],
      4,
      "not to a CLIP with both towers",
    ],
    [
      "prompts are missing",
      () => ["eval", world.model, "--metrics", "./bright.mjs"],
      2,
      "--prompts is missing",
    ],
    [
      "a metric is not known",
      () => ["eval", world.model, "--metrics", "pikscore:x", "--prompts", world.prompts],
      2,
      "did you mean pickscore?",
    ],
    [
      "two metrics have one name",
      () => ["eval", world.model, "--metrics", "./bright.mjs,./bright.mjs", "--prompts", world.prompts],
      2,
      "two metrics called bright",
    ],
    [
      "an own metric has no features",
      () => [
        "eval",
        world.model,
        "--metrics",
        "./bright.mjs",
        "--features",
        "./bright.mjs",
        "--prompts",
        world.prompts,
      ],
      2,
      "has no image features",
    ],
    [
      "a model has an option that is none",
      () => ["eval", `${world.model},weight=3`, "--metrics", "./bright.mjs", "--prompts", world.prompts],
      2,
      '"weight" is no option',
    ],
    [
      "there are no images",
      () => ["eval", "images:nothing", "--metrics", "./bright.mjs"],
      4,
      "nothing does not exist",
    ],
  ] as [string, () => string[], number, string][])(
    "stops before any work where %s",
    async (_, args, code, message) => {
      const ended = await cli([...args(), "--output", "refused"], { cwd: folder });
      expect(ended.stderr).toContain(message);
      expect(ended.code).toBe(code);
      expect(() => statSync(at("refused"))).toThrow();
    },
  );

  test("names every image that does not decode or has no prompt", async () => {
    mkdirSync(at("broken"));
    cpSync(join(at("both/images/base"), "0000-0-0.png"), at("broken/a.png"));
    writeFileSync(at("broken/b.png"), "no image");
    writeFileSync(at("broken/b.txt"), "a prompt");
    const ended = await cli(["eval", "images:broken", "--metrics", "./bright.mjs"], { cwd: folder });
    expect(ended.code).toBe(4);
    expect(ended.stderr).toContain("b.png: does not decode");
    rmSync(at("broken/b.txt"));
    const bare = await cli(["eval", "images:broken", "--metrics", "./bright.mjs"], { cwd: folder });
    expect(bare.code).toBe(4);
    expect(bare.stderr).toContain("b.png: has no prompt");
  });
});
