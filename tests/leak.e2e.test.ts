import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { makeTinyWorld } from "./tiny-models.js";

interface Alive {
  live: number;
  bytes: number;
}

/** Runs a program that tells what is alive after its first steps and after each 200 of the next thousand; expects that nothing was left. */
function grown<T extends Alive>(name: string): { early: T; late: T } {
  const program = fileURLToPath(new URL(name, import.meta.url));
  // Without --no-opt, V8 compiles the loop anew as it warms up, some 9 kB a step; that ends by itself and is no leak.
  const flags = ["--expose-gc", "--no-opt", "--max-semi-space-size=1"];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, program], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  const marks = JSON.parse(stdout) as T[];
  const [early, late] = [marks[0] as T, marks.at(-1) as T];
  expect(marks.map(({ live }) => live)).toEqual(marks.map(() => early.live));
  // A leak grows all the time; what an allocator or a collector keeps comes in a jump.
  const growth = marks.slice(1).map(({ bytes }, i) => (bytes - (marks[i] as T).bytes) / 200);
  expect(growth.toSorted((a, b) => a - b)[2], `bytes a step: ${growth.join(", ")}`).toBeLessThan(1024);
  return { early, late };
}

test("a thousand training steps leave no tensor and at most 1 kB a step", () => {
  const { early, late } = grown<Alive & { loss: number }>("./training-steps.mjs");
  expect(late.loss).toBeLessThan(early.loss / 2); // it did train
});

test("a thousand sampling steps, by all samplers, leave no tensor and at most 1 kB a step", () => {
  const { early, late } = grown<Alive & { sum: number }>("./sampling-steps.mjs");
  expect(late.sum).toBeGreaterThan(early.sum); // it did draw
});

// Three thousand rounds: +1 kB a round from the 250th on. Before that V8 compiles what is called often, some 45 kB a round, which --no-opt
// keeps out.
test("two hundred rounds of SPO leave no tensor and at most 8 kB a round", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-rounds-"));
  try {
    await makeTinyWorld(join(folder, "world"));
    const program = fileURLToPath(new URL("./spo-rounds.mjs", import.meta.url));
    const flags = ["--expose-gc", "--no-opt", "--max-semi-space-size=1"];
    const places = [join(folder, "world"), join(folder, "run"), "200", "20"];
    const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, program, ...places], {
      encoding: "utf8",
      env: { ...process.env, OMP_NUM_THREADS: "1" },
    });
    expect(status, stderr).toBe(0);
    const marks = (
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)) as Alive[]
    ).slice(3);
    const [first, last] = [marks[0] as Alive, marks.at(-1) as Alive];
    // The round at work holds some tensors more or less. One left by each round would be 120.
    const live = marks.map((mark) => mark.live);
    expect(Math.max(...live) - Math.min(...live), live.join(", ")).toBeLessThan(24);
    expect((last.bytes - first.bytes) / 120, marks.map(({ bytes }) => bytes).join(", ")).toBeLessThan(8192);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
