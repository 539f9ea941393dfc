// A rank of a training that is killed in each of its phases, or saves slowly. The command is the real one, started as a launcher does.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRun } from "@spo/records";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, type Ended, words } from "./cli.js";
import { freePort } from "./ranks.fixture.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const folder = mkdtempSync(join(tmpdir(), "spo-rank-faults-"));
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const HOOK = `--import=${fileURLToPath(new URL("rank-fault.mjs", import.meta.url))}`;

const COMMANDS = {
  dpo: () => [
    ...words("train dpo --pairs"),
    world.pairs,
    ...words("--adapter lora --rank 2 --steps 40 --batch 3 --micro-batch 1 --eval-pairs 2 --eval-every 1"),
  ],
  spo: () => [
    ...words("train spo --prompts"),
    ...[world.prompts, "--spm", world.spm],
    ...words("--rounds 40 --prompts-per-round 3 --steps 2 --first-branch 0 --candidates 2 --threshold 0"),
    ...words("--samples 0 --batch 4 --micro-batch 1"),
  ],
};

interface Rank extends Ended {
  rank: number;
  /** When it was over, ms. */
  at: number;
}

/** Trains by several processes; envOf: what one of them is told beside its place. */
async function train(
  kind: keyof typeof COMMANDS,
  { run, size, port, more = "", envOf }: Training,
): Promise<Rank[]> {
  const command = [
    ...COMMANDS[kind](),
    "--model",
    world.model,
    "--run",
    join(folder, run),
    ...words(`--save-every 1 ${more}`),
  ];
  return Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const place = {
        RANK: String(rank),
        WORLD_SIZE: String(size),
        MASTER_ADDR: "127.0.0.1",
        MASTER_PORT: String(port),
      };
      const ended = await cli(command, { env: { ...place, ...envOf(rank) } });
      return { ...ended, rank, at: performance.now() };
    }),
  );
}

interface Training {
  run: string;
  size: number;
  port: number;
  more?: string;
  envOf: (rank: number) => NodeJS.ProcessEnv;
}

/** Processes of this machine that have a variable of a value, where the system tells. */
function processesWith(variable: string): string[] {
  if (!existsSync("/proc/self/environ")) return [];
  return readdirSync("/proc").filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(variable)
      );
    } catch {
      return false; // it has ended, or is another user's
    }
  });
}

/** Resolves when a port of 127.0.0.1 can be taken; rejects when not. */
const takePort = (port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(port, "127.0.0.1", () => server.close(() => resolve()));
  });

/** What three do when one is killed, distributed.e2e.test.ts has. */
const SIZE = 2;

test.each([
  ["dpo", "connect"],
  ["spo", "sampling"],
  ["dpo", "updating"],
  ["dpo", "exchange"],
  ["dpo", "saving"],
  ["dpo", "measuring"],
] as const)(
  "train %s: whichever rank is killed in %s, the others end soon and name it, and nothing half is left",
  async (kind, phase) => {
    await Promise.all(
      [...Array(SIZE).keys()].map(async (victim) => {
        const port = await freePort();
        const run = `${phase}-${victim}`;
        const ranks = await train(kind, {
          ...{ run, size: SIZE, port },
          envOf: (rank) => ({
            SPO_TEST_RUN: join(folder, run),
            ...(rank === victim && { NODE_OPTIONS: HOOK, KILL_IN: phase }),
          }),
        });
        const killed = ranks[victim] as Rank;
        expect(killed.signal).toBe("SIGKILL");
        for (const { rank, code, stderr, at } of ranks) {
          if (rank === victim) continue;
          expect(stderr).toMatch(new RegExp(`Rank ${rank} of ${SIZE} cannot go on: rank ${victim} `));
          expect(code).toBe(5);
          expect(at - killed.at).toBeLessThan(30_000);
        }
        const { checkpoints } = existsSync(join(folder, run))
          ? readRun(join(folder, run))
          : { checkpoints: [] };
        for (const { fault } of checkpoints) expect(fault).toBeUndefined();
        expect(processesWith(`SPO_TEST_RUN=${join(folder, run)}`)).toEqual([]);
        await takePort(port);
      }),
    );
  },
);

test("rank 0 may save three times as long as the processes wait for one another, and longer than a dead one is silent", async () => {
  const timeout = 4; // seconds
  const slow = { NODE_OPTIONS: HOOK, SLOW_SAVE: String(3 * 1000 * timeout) };
  const ranks = await train("dpo", {
    ...{ run: "slow", size: SIZE, port: await freePort(), more: "--steps 2 --save-every 2" },
    envOf: (rank) => ({ SPO_DISTRIBUTED_TIMEOUT: String(timeout), ...(rank === 0 && slow) }),
  });
  for (const { stderr, code } of ranks) expect(code, stderr).toBe(0);
  expect(readRun(join(folder, "slow")).checkpoints.map(({ step }) => step)).toEqual([2]);
  expect(existsSync(join(folder, "slow/model/pytorch_lora_weights.safetensors"))).toBe(true);
});
