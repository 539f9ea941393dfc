// How far what two processes learn is from what one learns, where their gradients are added up at once: by rounding alone.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSafetensors } from "@spo/torch";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cli, words } from "./cli.js";
import { freePort } from "./ranks.fixture.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

const folder = mkdtempSync(join(tmpdir(), "spo-sum-"));
let world: TinyWorld;
beforeAll(async () => {
  world = await makeTinyWorld(join(folder, "world"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STEPS = 20;
const COMMANDS = {
  dpo: () => ["train", "dpo", "--adapter", "lora", "--rank", "2"],
  spm: () => ["train", "spm", "--init", world.spm],
};

/** All that learns after some steps, by name, in the float32 of the checkpoint. */
async function train(
  kind: keyof typeof COMMANDS,
  size: number,
  steps: number,
): Promise<Map<string, number[]>> {
  const port = await freePort();
  const run = join(folder, `${kind}-${size}-${steps}`);
  const command = [
    ...[...COMMANDS[kind](), "--model", world.model, "--pairs", world.pairs, "--run", run],
    ...words(
      `--steps ${steps} --batch 6 --micro-batch 3 --warmup 0 --optimizer.lr 0.0001 --eval-pairs 0 --save-every ${STEPS}`,
    ),
  ];
  const ended = await Promise.all(
    Array.from({ length: size }, (_, rank) =>
      cli(command, {
        env: { RANK: `${rank}`, WORLD_SIZE: `${size}`, MASTER_ADDR: "127.0.0.1", MASTER_PORT: `${port}` },
      }),
    ),
  );
  for (const { code, stderr } of ended) expect(code, stderr).toBe(0);
  const [checkpoint = ""] = readdirSync(join(run, "checkpoints"));
  const state = [...readSafetensors(join(run, "checkpoints", checkpoint, "training-state.safetensors"))];
  return new Map(
    state.flatMap(([name, value]) =>
      name.startsWith("optimizer/") ? [] : [[name, value.toNumbers()] as const],
    ),
  );
}

/** Norm of what two states differ by, as a share of the norm of the first. */
function distance(a: Map<string, number[]>, b: Map<string, number[]>): number {
  let [apart, whole] = [0, 0];
  for (const [name, values] of a)
    for (const [i, value] of values.entries()) {
      apart += (value - (b.get(name)?.[i] ?? Number.NaN)) ** 2;
      whole += value ** 2;
    }
  return Math.sqrt(apart / whole);
}

test.each(["dpo", "spm"] as const)(
  "train %s by two processes has after 20 steps the parameters of one to a millionth, and has learned",
  async (kind) => {
    const [one, two, before] = [
      await train(kind, 1, STEPS),
      await train(kind, 2, STEPS),
      await train(kind, 1, 1),
    ];
    expect(distance(one, before)).toBeGreaterThan(1e-4);
    expect(distance(one, two)).toBeLessThan(1e-6);
  },
);
