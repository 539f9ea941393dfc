// Several processes as `spo launch` starts them.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { readRun } from "@spo/records";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, type Ended, startCli, words } from "./cli.js";
import { freePort } from "./ranks.fixture.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const folder = mkdtempSync(join(tmpdir(), "spo-launch-"));
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const training = (run: string, more = ""): string[] => [
  ...words("spo train spo --model"),
  ...[world.model, "--prompts", world.prompts, "--run", join(folder, run), "--spm", world.spm],
  ...words(
    "--rounds 1 --prompts-per-round 2 --steps 2 --first-branch 0 --candidates 2 --threshold 0 --samples 0",
  ),
  ...words(`--reduce exact --batch 4 --micro-batch 1 ${more}`),
];
const launch = (nproc: number, command: readonly string[]): string[] => [
  ...words(`launch --nproc ${nproc} --`),
  ...command,
];

test("one process and two train to the same bytes, and each value of the launch is told with its source", async () => {
  const result = (run: string): Buffer =>
    readFileSync(join(folder, run, "model", "pytorch_lora_weights.safetensors"));
  const one = await cli(launch(1, training("one")));
  expect(one.stderr).toContain("launch: nproc 1 (--nproc)");
  const two = await cli(launch(2, training("two")));
  expect([one.code, two.code]).toEqual([0, 0]);
  expect(two.stderr).toContain("0 (RANK), 2 (WORLD_SIZE), 127.0.0.1 (MASTER_ADDR)");
  expect(result("two")).toEqual(result("one"));
});

test("a signal to the launch ends all processes with one checkpoint and the signal's exit code", async () => {
  const { process: launcher, ended } = startCli(launch(2, training("stopped", "--rounds 500 --json")));
  await new Promise<void>((resolve) =>
    launcher.stdout?.on("data", (text: string) => {
      if (text.includes('"type":"comparisons"')) resolve();
    }),
  );
  launcher.kill("SIGTERM");
  expect((await ended).code).toBe(143);
  const { events, writer } = readRun(join(folder, "stopped"));
  expect(events.filter(({ type }) => type === "checkpoint")).toHaveLength(1);
  expect(writer).toBeUndefined();
});

test("two processes draw the images of one, each its share, and rank 0 tells of all", async () => {
  const draw = (output: string): string[] => [
    ...words("spo sample red blue green --steps 1 --batch 1 --json --model"),
    ...[world.model, "--output", join(folder, output)],
  ];
  const [one, two] = [await cli(draw("drawn-one").slice(1)), await cli(launch(2, draw("drawn-two")))];
  const filesOf = ({ stdout }: { stdout: string }): string[] =>
    JSON.parse(stdout).images.map(({ file }: { file: string }) => basename(file));
  expect(filesOf(two)).toEqual(["00000-0.png", "00001-0.png", "00002-0.png"]);
  for (const file of filesOf(one))
    expect(readFileSync(join(folder, "drawn-two", file))).toEqual(
      readFileSync(join(folder, "drawn-one", file)),
    );
});

test("processes that would draw other images, or into folders of their own, are refused by setting and rank", async () => {
  const draw = async (more: (rank: number) => string[]): Promise<Ended[]> => {
    const port = await freePort();
    return Promise.all(
      [0, 1].map((rank) =>
        cli([...words("sample red --steps 1 --model"), world.model, ...more(rank)], {
          env: {
            ...{ RANK: String(rank), WORLD_SIZE: "2" },
            ...{ MASTER_ADDR: "127.0.0.1", MASTER_PORT: String(port) },
          },
        }),
      ),
    );
  };
  const at = (rank: number): string => join(folder, `of-rank-${rank}`);
  const unlike = await draw((rank) => ["--output", at(0), ...words(`--seed ${rank}`)]);
  const apart = await draw((rank) => ["--output", at(rank)]);
  for (const { code, stderr } of unlike)
    expect([code, stderr]).toEqual([3, expect.stringContaining("seed: rank 0 has")]);
  for (const { code, stderr } of apart)
    expect([code, stderr]).toEqual([3, expect.stringContaining(`  rank 1: ${at(1)}\n`)]);
  expect([0, 1].map((rank) => existsSync(at(rank)))).toEqual([false, false]);
});

test("processes that would score by other scorers, other pairs or other models are refused, and both are named", async () => {
  const refusalsOf = async (command: (rank: number) => string[]): Promise<string[]> => {
    const port = await freePort();
    const ends = await Promise.all(
      [0, 1].map((rank) =>
        cli(command(rank), {
          env: {
            ...{ RANK: String(rank), WORLD_SIZE: "2" },
            ...{ MASTER_ADDR: "127.0.0.1", MASTER_PORT: String(port) },
          },
        }),
      ),
    );
    expect(ends.map(({ code }) => code)).toEqual([3, 3]);
    return ends.map(({ stderr }) => stderr);
  };
  const { model, spm, pairs, prompts } = world;
  const fewer = join(folder, "fewer.jsonl");
  const all = join(folder, "all.jsonl");
  for (const [to, more] of [
    [all, []],
    [fewer, ["--split", "train"]],
  ] as const)
    expect((await cli(["data", "export", pairs, "--to", "jsonl", "--output", to, ...more])).code).toBe(0);
  const label = (by: string, of: string): string[] => [
    "label",
    of,
    "--by",
    by,
    "--output",
    join(folder, "unlike"),
  ];
  const scorer = `spm:${spm},tokenizer=${join(model, "tokenizer")}`;
  for (const stderr of await refusalsOf((rank) => label(scorer, rank === 0 ? all : fewer)))
    expect(stderr).toMatch(/same data\.\n {2}pairs: rank 0 has \d+, rank 1 has \d+\n {2}pairsSha256: /);
  for (const stderr of await refusalsOf((rank) => label(rank === 0 ? scorer : `pickscore:${spm}`, all)))
    expect(stderr).toMatch(
      /same settings\.\n {2}by: rank 0 has "spm:spm,tokenizer=tokenizer", rank 1 has "pickscore:spm"/,
    );
  const evaluate = (name: string): string[] => [
    ...["eval", `${model},name=${name}`, "--prompts", prompts, "--metrics", `spm:${spm}`],
    ...["--output", join(folder, "unlike"), ...words("--steps 1 --seeds 0")],
  ];
  for (const stderr of await refusalsOf((rank) => evaluate(rank === 0 ? "ours" : "theirs")))
    expect(stderr).toContain('models: rank 0 has "ours", rank 1 has "theirs"');
});

test("two processes evaluate and label as one does, each its share", async () => {
  const { model, spm, pairs, prompts } = world;
  const evaluation = (output: string): string[] => [
    ...[
      "spo",
      "eval",
      model,
      "--prompts",
      prompts,
      "--metrics",
      `spm:${spm}`,
      "--output",
      join(folder, output),
    ],
    ...words("--steps 1 --seeds 0"),
  ];
  const labelling = (output: string): string[] => [
    ...["spo", "label", pairs, "--by", `spm:${spm},tokenizer=${join(model, "tokenizer")}`, "--to", "parquet"],
    ...words(`--batch 5 --output ${join(folder, output)}`),
  ];
  const ends = [
    await cli(evaluation("evaluated-1").slice(1)),
    await cli(launch(2, evaluation("evaluated-2"))),
    await cli(labelling("labels-1.parquet").slice(1)),
    await cli(launch(2, labelling("labels-2.parquet"))),
  ];
  expect(ends.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
  const figures = (n: number): string =>
    readFileSync(join(folder, `evaluated-${n}`, "scores.jsonl"), "utf8").replaceAll(`evaluated-${n}`, "");
  expect(figures(2)).toBe(figures(1));
  expect(figures(1).trim().split("\n")).toHaveLength(5);
  const labels = (n: number): Buffer => readFileSync(join(folder, `labels-${n}.parquet`));
  expect(labels(2)).toEqual(labels(1));
});

test("the check of processes tells who is there and what adding up costs, and alone it says what to do", async () => {
  const { code, stdout } = await cli(launch(2, words("spo dist check --json")));
  expect(code).toBe(0);
  const told = JSON.parse(stdout.trim().split("\n").at(-1) as string);
  expect(told).toMatchObject({
    schema: "spo.dist/1",
    by: { name: "gloo" },
    processes: [
      { rank: 0, address: "127.0.0.1", threads: "1" },
      { rank: 1, address: "127.0.0.1", threads: "1" },
    ],
    reductions: [{ bytes: 4000 }, { bytes: 3_200_000 }, { bytes: 75_000_000 }],
  });
  for (const { seconds, slowest } of told.reductions) {
    expect(seconds).toBeGreaterThan(0);
    expect(slowest).toBeGreaterThanOrEqual(seconds);
  }
  const alone = await cli(words("dist check"));
  expect(alone.code).toBe(2);
  expect(alone.stderr).toContain("npx spo launch --nproc 2 -- spo dist check");
});
