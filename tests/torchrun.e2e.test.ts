// PyTorch's own torchrun as the launcher, where a Python has it: SPO_PYTHON, else the one on the PATH.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRun } from "@spo/records";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli, words } from "./cli.js";
import { freePort } from "./ranks.fixture.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const PROGRAM = fileURLToPath(new URL("../packages/cli/bin/spo.js", import.meta.url));
const HOOK = `--import=${fileURLToPath(new URL("rank-fault.mjs", import.meta.url))}`;
const python = process.env.SPO_PYTHON || "python3";
const HAS_TORCHRUN = spawnSync(python, ["-c", "import torch.distributed.run"]).status === 0;
if (!HAS_TORCHRUN) console.warn("no torchrun here, by SPO_PYTHON or python3: its tests are skipped");

describe.skipIf(!HAS_TORCHRUN)("torchrun", () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-torchrun-"));
  let world: TinyWorld;
  let weights: Buffer;
  beforeAll(async () => {
    world = await makeTinyWorld(join(folder, "world"));
    expect((await cli(commandOf("one"))).code).toBe(0);
    weights = weightsOf("one");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const commandOf = (run: string): string[] => [
    ...["train", "dpo", "--model", world.model, "--pairs", world.pairs, "--run", join(folder, run)],
    ...words(
      "--adapter lora --rank 2 --steps 4 --batch 4 --micro-batch 2 --eval-pairs 0 --save-every 1 --reduce exact",
    ),
  ];
  const weightsOf = (run: string): Buffer =>
    readFileSync(join(folder, run, "model", "pytorch_lora_weights.safetensors"));

  /** Trains by two processes that torchrun starts. Each first tells who holds the store. */
  async function torchrun(
    run: string,
    options: readonly string[],
    env: NodeJS.ProcessEnv = {},
  ): Promise<string> {
    const telling = ["sh", "-c", 'echo "agent: $TORCHELASTIC_USE_AGENT_STORE" >&2; exec "$@"', "sh"];
    const launch = ["-m", "torch.distributed.run", "--no-python", "--nproc-per-node", "2", ...options, "--"];
    const child = spawn(python, [...launch, ...telling, process.execPath, PROGRAM, ...commandOf(run)], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let stderr = "";
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect(code, stderr).toBe(0);
    return stderr;
  }

  test("two processes that meet in its agent's store train to the bytes of one", async () => {
    const told = await torchrun("agent", ["--master-port", String(await freePort())]);
    expect(told).toContain("agent: True");
    expect(weightsOf("agent")).toEqual(weights);
  });

  test("after a crash it starts all again, and they go on to the bytes of a training that was left alone", async () => {
    const crash = { NODE_OPTIONS: HOOK, KILL_IN: "saving", KILL_RANK: "1" };
    const told = await torchrun("crashed", ["--standalone", "--max-restarts", "1"], crash);
    expect(told.split("agent: True")).toHaveLength(1 + 2 * 2);
    expect(readRun(join(folder, "crashed")).checkpoints.length).toBeGreaterThan(0);
    expect(weightsOf("crashed")).toEqual(weights);
  });
});
