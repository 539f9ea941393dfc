// SPO of an SDXL-shaped model, with inner steps, as `training.e2e.test.ts` has it for SD1.5.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTextToImage, saveSingleFile } from "@spo/diffusion";
import { computedPart, listCheckpoints, readRun } from "@spo/records";
import { openSafetensors, readSafetensors } from "@spo/torch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, words } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
const at = (...path: string[]): string => join(folder, ...path);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-sdxl-"));
  world = await makeTinyWorld(at("world"), "sdxl");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The published settings of SDXL on a short schedule: three inner steps, two candidates. */
const command = (run: string, ...more: string[]): string[] => [
  ...words("train spo sdxl --rounds 4 --steps 10 --first-branch 2 --threshold 0.01 --save-every 1 --rank 2"),
  ...words("--optimizer.lr 3e-3"),
  ...["--model", world.model, "--spm", world.spm, "--prompts", world.prompts, "--run", at(run), ...more],
];

const metricsOf = (run: string) =>
  readRun(at(run)).events.flatMap((event) => (event.type === "step" ? [event] : []));

/** What a run computed, without times and paths. */
function outcomeOf(run: string): object {
  const bytes = (path: string): string => readFileSync(path).toString("base64");
  const last = listCheckpoints(at(run, "checkpoints")).at(-1)?.folder as string;
  return {
    events: computedPart(readRun(at(run)).events).filter(({ type }) => type !== "done"),
    samples: readdirSync(at(run, "samples")).map((name) => bytes(at(run, "samples", name, "0.png"))),
    result: bytes(at(run, "model", "pytorch_lora_weights.safetensors")),
    state: bytes(join(last, "training-state.safetensors")),
  };
}

describe("SPO of an SDXL-shaped model", () => {
  test("starts at ln 2, with inner steps, and moves every layer of the LoRA", async () => {
    const ended = await cli(command("whole"));
    expect(ended.stderr).toContain("finished");
    expect(ended.code).toBe(0);
    const steps = metricsOf("whole");
    expect(steps[0]?.metrics.loss).toBeCloseTo(Math.LN2, 3);
    const lora = readSafetensors(at("whole", "model", "pytorch_lora_weights.safetensors"));
    const up = [...lora].filter(([name]) => name.endsWith("lora_up.weight"));
    expect(up.length).toBeGreaterThan(8);
    for (const [name, value] of up) expect(value.abs().max().item(), name).toBeGreaterThan(0);
    const judged = readRun(at("whole")).events.find(({ type }) => type === "comparisons");
    // Segments of steps 2 to 5 and 6 to 9.
    expect(judged).toMatchObject({ timesteps: [{ timestep: 301 }, { timestep: 0 }] });
  });

  test("killed and resumed computes, bit for bit, what the unbroken run did", async () => {
    for (const events of [3, 9]) {
      const ended = await cli([...command("killed"), "--json"], {
        signal: { name: "SIGKILL", afterLines: events },
      });
      expect(ended.signal).toBe("SIGKILL");
    }
    expect((await cli(command("killed"))).code).toBe(0);
    expect(outcomeOf("killed")).toEqual(outcomeOf("whole"));
  });

  test("gives a LoRA in kohya's names for SDXL, which spo sample lays over the base", async () => {
    const lora = at("whole", "model", "pytorch_lora_weights.safetensors");
    {
      using file = openSafetensors(lora);
      expect(file.keys().every((name) => name.startsWith("lora_unet_"))).toBe(true);
      expect(file.metadata["modelspec.architecture"]).toBe("stable-diffusion-xl-v1-base/lora");
      expect(file.metadata["modelspec.resolution"]).toBe("16x16");
      expect(JSON.parse(file.metadata["spo.settings"] as string)).toMatchObject({
        innerSteps: 3,
        maxGradNorm: null,
      });
      expect(Object.values(file.metadata).join()).not.toContain(folder);
    }
    const sample = (out: string, ...more: string[]) =>
      cli([...words("sample red --steps 3 --seed 5"), "--model", world.model, "--output", at(out), ...more]);
    expect((await sample("base")).code).toBe(0);
    expect((await sample("with-lora", "--lora", lora)).code).toBe(0);
    const [base, adapted] = ["base", "with-lora"].map((out) =>
      readFileSync(at(out, readdirSync(at(out))[0] as string)),
    ) as [Buffer, Buffer];
    expect(adapted.equals(base)).toBe(false);
  });

  test("has a report of samples, pairs, margins, drift and candidates, in one file that loads nothing", async () => {
    const ended = await cli(["report", at("whole")]);
    expect(ended.code).toBe(0);
    expect(ended.stdout.trim()).toBe(at("whole", "report", "report.html"));
    const page = readFileSync(at("whole", "report", "report.html"), "utf8");
    const shown = [
      /before and after/,
      /In the course of the training/,
      /Pair yield/,
      /Margins by timestep/,
      /Likelihood ratios/,
      /Drift/,
      /“[a-z ]+”, round 1</,
    ];
    for (const what of shown) expect(what.test(page), String(what)).toBe(true); // a failed match would print the page
    expect(/(src|href)="(?!data:)/.test(page)).toBe(false);
    const pictures = page.match(/<img src="data:image\/png;base64,[^"]{80,}/g) ?? [];
    expect(pictures.length).toBeGreaterThan(4 * 2 + 4 * 3);
  });

  test("counts the passes that the algorithm needs: one prediction where the sides share x_t, two where they do not", async () => {
    expect((await cli(command("counted", ...words("--rounds 1 --threshold 0 --samples 0")))).code).toBe(0);
    const events = metricsOf("counted");
    const total = (pass: string): number =>
      events.reduce((sum, { passes }) => sum + ((passes as Record<string, number>)[pass] ?? 0), 0);
    const [prompts, candidates, guidance] = [2, 2, 2];
    // Steps 0, 1 and the first branch from one latent a prompt, seven from all children.
    expect(total("unetSampling")).toBe(guidance * prompts * (3 + 7 * candidates));
    expect(total("vaeDecode")).toBe(2 * prompts * candidates);
    expect(total("judgeImage")).toBe(2 * prompts * candidates);
    expect(total("judgeText")).toBe(5); // each prompt of the list once in the whole run
    const pairs = events.reduce((sum, { metrics }) => sum + (metrics.pairs as number), 0);
    expect(pairs).toBe(2 * prompts * 4);
    for (const pass of ["unetPolicy", "unetReference", "unetBackward"])
      expect(total(pass), pass).toBe(guidance * 2 * prompts * (1 + 3 * 2));
  });

  test("from one file learns what it learns from the folder", async () => {
    const file = at("one-file.safetensors");
    saveSingleFile(file, loadTextToImage(world.model).models);
    const more = ["--model", file, "--configs", world.model, ...words("--rounds 1 --samples 0")];
    expect((await cli(command("from-file", ...more))).code).toBe(0);
    // Not the same bits: a matrix that a file holds the other way round is multiplied in another order.
    const losses = metricsOf("from-file").map(({ metrics }) => metrics.loss as number);
    const folderwise = metricsOf("whole").filter(({ step }) => step === 1);
    expect(losses).toHaveLength(folderwise.length);
    for (const [i, { metrics }] of folderwise.entries())
      expect(losses[i]).toBeCloseTo(metrics.loss as number, 3);
  });

  test("trains the whole UNet, and the result is a model that samples", async () => {
    expect((await cli(command("full", ...words("--adapter full --rounds 1 --optimizer.lr 1e-4")))).code).toBe(
      0,
    );
    const ended = await cli([
      ...words("sample red --steps 2 --model"),
      at("full", "model"),
      "--output",
      at("full-samples"),
    ]);
    expect(ended.code).toBe(0);
  });
});

test("base, Diffusion-DPO and SPO of an SDXL-shaped model are compared on one page", async () => {
  const small = { adapter: "lora", rank: 2 };
  const trial = [{ optimizer: { lr: 1e-3 } }];
  const config = {
    ...{ model: world.model, pairs: [world.pairs], prompts: world.prompts, heldOut: world.prompts },
    ...{ judge: `spm:${world.spm}`, validator: `spm:${world.spm}` },
    spm: { init: world.spm, steps: 1, batch: 4, evalEvery: 10, warmup: 1 },
    spo: {
      ...small,
      promptsPerRound: 2,
      steps: 4,
      firstBranch: 1,
      innerSteps: 1,
      threshold: 0.001,
      batch: 4,
    },
    dpo: { ...small, batch: 4, microBatch: 4, warmup: 1 },
    ...{ seconds: 1.5, clock: "cpu", seeds: [0], checkpoints: 1 },
    search: { seconds: 0.1, checkpoints: 1, spo: trial, dpo: trial },
    sampling: { steps: 2, guidanceScale: 3, eta: 1 },
    ...{ curve: { seeds: [5], perPrompt: 1 }, report: { seeds: [5], perPrompt: 1 }, jobs: 2, threads: 1 },
  };
  writeFileSync(at("compare.json"), JSON.stringify(config));
  const ended = await cli(["compare", at("compare.json"), "--run", at("compare")]);
  expect([ended.code, ended.stderr]).toEqual([0, expect.stringContaining("comparison.html")]);
  const facts = JSON.parse(readFileSync(at("compare", "comparison.json"), "utf8"));
  expect(facts.rows.map(({ name }: { name: string }) => name)).toEqual(["base", "dpo", "spo"]);
  expect(facts.work.at(-1).passes.unetPolicy).toBeGreaterThan(0);
});
