// Judges of the user's own, from a folder that knows nothing of this repository.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { listCheckpoints, readRun } from "@spo/records";
import { readSafetensors } from "@spo/torch";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, type Ended, words } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
const worlds: Partial<Record<"sd15" | "sdxl", TinyWorld>> = {};
const at = (...path: string[]): string => join(folder, ...path);

const documented = [
  ...readFileSync(fileURLToPath(new URL("../docs/own-judge.md", import.meta.url)), "utf8").matchAll(
    /^```ts\n\/\/ (\S+)\n([\s\S]*?)^```/gm,
  ),
].map(([, name, code]) => ({ name: name as string, code: code as string }));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-judge-"));
  for (const family of ["sd15", "sdxl"] as const) worlds[family] = await makeTinyWorld(at(family), family);
  for (const { name, code } of documented) writeFileSync(at(name), code);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Trains with a judge; `body` becomes its file. */
function train(
  run: string,
  judge: string,
  settings: string,
  family: "sd15" | "sdxl" = "sd15",
): Promise<Ended> {
  const { model, prompts } = worlds[family] as TinyWorld;
  const command = words(
    `train spo --prompts-per-round 2 --steps 6 --first-branch 1 --candidates 3 --batch 4 --rank 4 ${settings}`,
  );
  return cli([...command, "--model", model, "--prompts", prompts, "--judge", judge, "--run", at(run)], {
    cwd: folder,
  });
}

const judgeFile = (name: string, code: string): string => {
  writeFileSync(at(name), code);
  return `./${name}`;
};
const events = (run: string) => readRun(at(run)).events;
const scoresOf = (run: string): number[] =>
  events(run).flatMap((event) => (event.type === "eval" ? [event.metrics.score as number] : []));

describe("a judge in a user's file", () => {
  test.each([
    ["sd15", ""],
    ["sdxl", "--inner-steps 1"],
  ] as const)("raises what it scores on samples of %s %s", async (family, more) => {
    const judge = judgeFile(
      "mean.mjs",
      'import { scoreJudge } from "spo"; export default scoreJudge(({ x0 }) => x0.mean([1, 2, 3]).mul(20));',
    );
    const settings = `--rounds 16 --prompts-per-round 5 --candidates 4 --batch 25 --micro-batch 25 --threshold 0.01 --optimizer.lr 1e-2 --max-grad-norm 1 --sample-every 8 --samples 5 ${more}`;
    const ended = await train(`mean-${family}`, judge, settings, family);
    expect(ended.stderr).toContain("finished");
    expect(ended.code).toBe(0);
    const scores = scoresOf(`mean-${family}`);
    expect(scores).toHaveLength(3);
    expect((scores.at(-1) as number) - (scores[0] as number)).toBeGreaterThan(1);
  });

  test("of latents, in TypeScript as documented, decodes nothing but what is shown", async () => {
    const ended = await train("calm", "./calm-judge.ts", "--rounds 4 --threshold 0.01 --strip-every 3");
    expect(ended.stderr).toContain("finished");
    expect(ended.code).toBe(0);
    const decodes = events("calm").flatMap((event) =>
      event.type === "step" ? [event.passes?.vaeDecode ?? 0] : [],
    );
    // Rounds 1 and 4 keep the candidates of both prompts, three at each of five timesteps.
    expect(decodes.reduce((a, b) => a + b, 0)).toBe(2 * 2 * 3 * 5);
  });

  test("that prepares prompts and looks at pictures runs as documented, and refuses another family", async () => {
    expect((await train("warm", "./warm-judge.ts", "--rounds 1 --threshold 0")).code).toBe(0);
    const ended = await train("warm-xl", "./warm-judge.ts", "--rounds 1", "sdxl");
    expect(ended.code).toBe(4);
    expect(ended.stderr).toContain("The judge is one of sd15; this model is sdxl.");
  });

  test.each([
    ["missing", "./none.ts", "does not exist"],
    ["empty", "export default 7;", "exports no judge"],
    ["syntax", "export default {", "cannot be loaded"],
    [
      "shape",
      'import { scoreJudge } from "spo"; export default scoreJudge(({ x0 }) => x0);',
      "gave a tensor [6,4,4,4]",
    ],
    [
      "latents",
      'import { scoreJudge } from "spo"; export default { ...scoreJudge(() => []), requires: { latentShape: [4, 64, 64] } };',
      "of latents [4,64,64]; this model's are [4,4,4]",
    ],
    [
      "throws",
      'import { scoreJudge } from "spo"; export default scoreJudge(({ x0 }) => x0.matmul(x0.flatten()));',
      "failed at timestep 499 with latents [6,4,4,4]",
    ],
  ])("that is %s is refused with what is wrong, and leaves no run behind", async (name, code, message) => {
    const judge = code.startsWith("./") ? code : judgeFile(`${name}.mjs`, code);
    const ended = await train(`bad-${name}`, judge, "--rounds 1 --samples 0");
    expect(ended.stderr).toContain(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /); // no stack
    expect(ended.code).toBe(4);
  });

  test("may be one of several with weights, which must agree on a pair", async () => {
    const list = "0.7*./calm-judge.ts,0.3*./warm-judge.ts";
    const judged = async (run: string, agreement: string) => {
      const ended = await train(run, list, `--rounds 2 --threshold 0 --samples 0 ${agreement}`);
      expect(ended.code, ended.stderr).toBe(0);
      return events(run).flatMap((event) => (event.type === "comparisons" ? event.timesteps : []));
    };
    const [summed, agreed] = [await judged("summed", ""), await judged("agreed", "--judge-agreement 1")];
    // The same rollout in the first round: what is valid and what is doubtful make up what was valid without.
    for (const [i, { valid }] of summed.slice(0, 5).entries())
      expect((agreed[i]?.valid as number) + (agreed[i]?.doubtful as number)).toBe(valid);
    expect(agreed.some(({ doubtful }) => (doubtful as number) > 0)).toBe(true);
    const alone = await train("alone", "./calm-judge.ts", "--rounds 1 --judge-agreement 1");
    expect(alone.code).toBe(3);
    expect(alone.stderr).toContain("judgeAgreement is 1, and there is one judge");
  });

  test("of finished images, a reward without time, judges predictions too", async () => {
    const { spm } = worlds.sd15 as TinyWorld;
    const ended = await train("reward", `spm:${spm}`, "--rounds 1 --threshold 0");
    expect(ended.stderr).toContain("finished");
    expect(ended.code).toBe(0);
    const judged = events("reward").find((event) => event.type === "comparisons");
    expect(
      judged?.type === "comparisons" && judged.timesteps.every(({ spread }) => (spread as number) > 0),
    ).toBe(true);
    const passes = events("reward").flatMap((event) =>
      event.type === "step" ? [event.passes?.judgeImage ?? 0] : [],
    );
    expect(passes.reduce((a, b) => a + b, 0)).toBe(2 * 3 * 5);
  });

  test("that is no judge's name is told which there are", async () => {
    const ended = await train("misnamed", "pickscor", "--rounds 1");
    expect(ended.code).toBe(3);
    expect(ended.stderr).toContain('There is no judge "pickscor"');
  });
});

describe("a judge whose scores are not finite", () => {
  const broken = (body: string): string => `
    import { scoreJudge } from "spo";
    export default scoreJudge(({ x0, timestep, prompts }) => prompts.map((prompt, i) => ${body}));`;

  test("at one timestep loses that timestep's pairs, is warned of, and the run ends well", async () => {
    const judge = judgeFile("half.mjs", broken("timestep === 333 ? NaN : i"));
    const ended = await train("half", judge, "--rounds 2 --threshold 0.1");
    expect(ended.code).toBe(0);
    expect(ended.stderr).toMatch(/scores that are not finite in 2 of 10 comparisons, at timestep 333 first/);
    const judged = events("half").find((event) => event.type === "comparisons");
    expect(
      judged?.type === "comparisons" &&
        judged.timesteps.map(({ timestep, notFinite, valid }) => [timestep, notFinite, valid]),
    ).toEqual([
      [499, 0, 2],
      [333, 2, 0],
      [167, 0, 2],
      [1, 0, 2],
      [0, 0, 2],
    ]);
    const lora = readSafetensors(at("half", "model", "pytorch_lora_weights.safetensors"));
    expect([...lora.values()].every((value) => value.isfinite().all().item())).toBe(true);
  });

  test("for ten judged timesteps in a row ends the run, with the last good checkpoint kept", async () => {
    // Sound for two rounds, of five judged timesteps each.
    const judge = judgeFile(
      "dying.mjs",
      `import { scoreJudge } from "spo";
      let round = 0;
      export default { ...scoreJudge(({ prompts }) => prompts.map((_, i) => (round < 2 ? i : NaN))), beginRound: (n) => { round = n; } };`,
    );
    const ended = await train("dying", judge, "--rounds 9 --threshold 0.1 --save-every 1 --samples 0");
    expect(ended.code).toBe(6);
    expect(ended.stderr).toContain(
      "No score of the judge was finite at 10 judged timesteps in a row, up to round 4",
    );
    expect(listCheckpoints(at("dying", "checkpoints")).map(({ step }) => step)).toEqual([1, 2]);
  });

  test("but all equal gives no pair, says why, and changes no weight", async () => {
    const judge = judgeFile("equal.mjs", broken("1"));
    const ended = await train("equal", judge, "--rounds 3 --samples 0");
    expect(ended.code).toBe(0);
    expect(ended.stderr).toContain("no pair above the threshold 0.3 in 3 rounds in a row");
    expect(ended.stderr).toContain("it cannot tell them apart");
    const lora = readSafetensors(at("equal", "model", "pytorch_lora_weights.safetensors"));
    for (const [name, value] of lora)
      if (name.endsWith("lora_up.weight")) expect(value.abs().max().item()).toBe(0);
  });
});

test("pairs that are all outside the clip cost no backward pass", async () => {
  const ended = await train(
    "clipped",
    "./calm-judge.ts",
    "--rounds 3 --threshold 0.001 --samples 0 --optimizer.lr 3e-2 --clip 1e-6 --micro-batch 1",
  );
  expect(ended.code).toBe(0);
  const steps = events("clipped").flatMap((event) => (event.type === "step" ? [event] : []));
  const sum = (of: (step: (typeof steps)[number]) => number): number =>
    steps.reduce((all, step) => all + of(step), 0);
  // One pair a backward pass, and two UNet passes of each with guidance.
  const without = sum(({ metrics }) => (metrics.withoutGradient as number) * (metrics.pairs as number));
  expect(without).toBeGreaterThan(0);
  const all = sum(({ passes }) => passes?.unetPolicy ?? 0);
  expect(sum(({ passes }) => passes?.unetBackward ?? 0)).toBe(all - 2 * Math.round(without));
});

test("a learning rate that runs away ends the run, and no checkpoint holds a number that is not finite", async () => {
  const ended = await train(
    "away",
    "./calm-judge.ts",
    "--rounds 30 --threshold 0.001 --save-every 1 --samples 0 --optimizer.lr 1e30",
  );
  expect(ended.code).toBe(6);
  for (const { folder: saved } of listCheckpoints(at("away", "checkpoints"))) {
    for (const [name, value] of readSafetensors(join(saved, "training-state.safetensors")))
      expect(value.isfinite().all().item(), name).toBe(1);
  }
});
