// Diffusion-DPO by one process and by several, as a launcher starts them.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readRun } from "@spo/records";
import { readSafetensors } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type CliOptions, cli, type Ended, type Started, startCli, words } from "./cli.js";
import { freePort } from "./ranks.fixture.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const folder = mkdtempSync(join(tmpdir(), "spo-dpo-processes-"));
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const commandOf = (run: string, more = ""): string[] => [
  ...words("train dpo --model"),
  ...[world.model, "--pairs", world.pairs, "--run", join(folder, run)],
  ...words("--adapter lora --rank 2 --steps 4 --batch 6 --micro-batch 2 --save-every 2 --optimizer.lr 0.01"),
  ...words(`--eval-pairs 4 --eval-every 2 --max-grad-norm 1 ${more}`),
];

/** What a launcher tells a rank. */
const envOf = (rank: number, size: number, port: number): CliOptions["env"] => ({
  ...{ RANK: String(rank), WORLD_SIZE: String(size) },
  ...{ MASTER_ADDR: "127.0.0.1", MASTER_PORT: String(port) },
});

/** Trains by several processes. more: further words of each rank. */
async function train(size: number, run: string, more: (rank: number) => string): Promise<Ended[]> {
  const port = await freePort();
  return Promise.all(
    Array.from({ length: size }, (_, rank) =>
      cli(commandOf(run, more(rank)), { env: envOf(rank, size, port) }),
    ),
  );
}

const RESULT = "model/pytorch_lora_weights.safetensors";
const weightsOf = (run: string): Buffer => readFileSync(join(folder, run, RESULT));
const metricsOf = (run: string) =>
  readRun(join(folder, run)).events.flatMap((event) =>
    event.type === "step" || event.type === "eval" ? [event.metrics] : [],
  );

test("added up exactly, two and three processes give the bytes of one, also in another number after a break", async () => {
  expect((await cli(commandOf("one"))).code).toBe(0);
  for (const size of [2, 3]) {
    const found = await train(size, `exact-${size}`, () => "--reduce exact");
    expect(found.map(({ code }) => code)).toEqual(Array(size).fill(0));
    expect(weightsOf(`exact-${size}`)).toEqual(weightsOf("one"));
    expect(metricsOf(`exact-${size}`)).toEqual(metricsOf("one"));
    expect(found.slice(1).map(({ stdout, stderr }) => stdout + stderr)).toEqual(Array(size - 1).fill(""));
  }
  expect((await cli(commandOf("broken", "--reduce exact --steps 2"))).code).toBe(0);
  await train(2, "broken", () => "--reduce exact");
  expect(weightsOf("broken")).toEqual(weightsOf("one"));
});

test("added up at once, two processes give the weights of one but for rounding", async () => {
  expect((await train(2, "sum-2", () => "")).map(({ code }) => code)).toEqual([0, 0]);
  const [one, two] = ["one", "sum-2"].map((run) => readSafetensors(join(folder, run, RESULT)));
  for (const [name, tensor] of one ?? []) {
    const found = two?.get(name)?.toNumbers() ?? [];
    // Halves: the result is stored in half precision, and AdamW's first steps magnify what the last bit decides.
    for (const [i, value] of tensor.toNumbers().entries()) expect(found[i]).toBeCloseTo(value, 3);
  }
});

test("ranks with other settings are refused before anything is trained, and the setting is named", async () => {
  const found = await train(2, "unlike", (rank) => `--seed ${rank}`);
  for (const { code, stderr } of found) {
    expect(stderr).toContain("The processes do not have the same settings.\n  seed: rank 0 has");
    expect(code).toBe(3);
  }
  expect(existsSync(join(folder, "unlike", RESULT))).toBe(false);
});

test.each([
  [
    "pairs that are not there",
    (rank: number) => (rank === 1 ? "--pairs none.parquet" : ""),
    4,
    "none.parquet does not exist.",
  ],
  [
    "a setting that there is not",
    (rank: number) => (rank === 1 ? "--stepz 3" : ""),
    3,
    "--stepz is no setting",
  ],
  [
    "a value that does not fit, of rank 0",
    (rank: number) => (rank === 0 ? "--batch 0" : ""),
    3,
    "--batch  expected",
  ],
])(
  "when one of three ends for %s, the others name it and say why, with its exit code",
  async (name, more, code, words) => {
    const found = await train(3, "alone", more);
    const culprit = name.endsWith("of rank 0") ? 0 : 1;
    for (const [rank, end] of found.entries()) {
      expect(end.stderr).toContain(words);
      if (rank !== culprit)
        expect(end.stderr).toMatch(
          new RegExp(`Rank ${rank} of 3 cannot go on: rank ${culprit} (\\(process \\d+\\) )?has ended\\.`),
        );
      expect(end.code).toBe(code);
    }
    expect(existsSync(join(folder, "alone", RESULT))).toBe(false);
  },
);

test("ranks with another model under another path are refused, and the model's part is named", async () => {
  const other = join(folder, "other-model");
  cpSync(world.model, other, { recursive: true });
  const weights = join(other, "unet", "diffusion_pytorch_model.safetensors");
  const bytes = readFileSync(weights);
  for (let at = bytes.length - 400; at < bytes.length; at += 4) bytes.writeFloatLE(1, at);
  writeFileSync(weights, bytes);
  for (const { code, stderr } of await train(2, "models", (rank) => (rank === 1 ? `--model ${other}` : ""))) {
    expect(stderr).toMatch(
      /The processes do not have the same models\.\n {2}unet: rank 0 has "\w+", rank 1 has "\w+"\n/,
    );
    expect(code).toBe(3);
  }
});

test("ranks of other commands are refused, and both commands are named", async () => {
  const port = await freePort();
  const found = await Promise.all([
    cli(commandOf("commands"), { env: envOf(0, 2, port) }),
    cli(["dist", "check"], { env: envOf(1, 2, port) }),
  ]);
  for (const { code, stderr } of found) {
    expect(stderr).toContain('the same command.\n  spo: rank 0 has "train dpo", rank 1 has "dist check"\n');
    expect(code).toBe(3);
  }
});

/** For NODE_OPTIONS: the process takes itself for another version of the command. */
const OTHER_VERSION = `
  import fs from "node:fs";
  import { syncBuiltinESMExports } from "node:module";
  const { readFileSync } = fs;
  fs.readFileSync = (path, ...rest) => {
    const isOwn = String(path).endsWith("/packages/cli/package.json");
    return isOwn ? '{"version":"0.0.9"}' : readFileSync(path, ...rest);
  };
  syncBuiltinESMExports();`;

test("ranks of other versions are refused, and rank and both versions are named", async () => {
  const port = await freePort();
  const other = `--import=data:text/javascript,${encodeURIComponent(OTHER_VERSION)}`;
  const found = await Promise.all(
    [undefined, other].map((options, rank) =>
      cli(commandOf("versions"), { env: { ...envOf(rank, 2, port), NODE_OPTIONS: options } }),
    ),
  );
  for (const { code, stderr } of found) {
    expect(stderr).toMatch(
      /The processes do not have the same versions\.\n {2}spo: rank 0 has "\d+\.\d+\.\d+", rank 1 has "0\.0\.9"\n/,
    );
    expect(code).toBe(3);
  }
});

/** Starts a long training by two processes and waits for its first checkpoint. */
async function startTwo(run: string) {
  const port = await freePort();
  const [first, second] = [0, 1].map((rank) =>
    startCli(commandOf(run, "--steps 400 --json"), { env: envOf(rank, 2, port) }),
  ) as [Started, Started];
  await new Promise<void>((resolve) =>
    first.process.stdout?.on("data", (text: string) => {
      if (text.includes('"type":"checkpoint"')) resolve();
    }),
  );
  return [first, second] as const;
}

test("a signal to one rank ends all of them after the same step, with a checkpoint of it", async () => {
  const [first, second] = await startTwo("stopped");
  second.process.kill("SIGTERM");
  const [other, signalled] = await Promise.all([first.ended, second.ended]);
  expect([other.code, signalled.code]).toEqual([143, 143]);
  expect(other.stderr).toContain("as its folder or another process of this training was asked.");
  const { events } = readRun(join(folder, "stopped"));
  const last = events.findLast((event) => event.type === "step");
  expect(events.findLast((event) => event.type === "checkpoint")).toMatchObject({ step: last?.step });
});

test("when a rank is killed in a training, the other ends and names it, and the checkpoints are whole", async () => {
  const [one, other] = await startTwo("killed");
  other.process.kill("SIGKILL");
  const first = await one.ended;
  expect(first.stderr).toMatch(/Rank 0 of 2 cannot go on: rank 1 \(process \d+\) gives no sign of life\./);
  expect(first.code).toBe(5);
  const { checkpoints } = readRun(join(folder, "killed"));
  expect(checkpoints.length).toBeGreaterThan(0);
  for (const { fault } of checkpoints) expect(fault).toBeUndefined();
});
