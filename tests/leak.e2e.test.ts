import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

interface Alive {
  live: number;
  rss: number;
}

/** Runs a program that tells what is alive before and after a thousand steps, and expects that nothing was left. */
function grown<T extends Alive>(name: string): { early: T; late: T } {
  const program = fileURLToPath(new URL(name, import.meta.url));
  // Without --no-opt, V8 compiles the loop anew as it warms up, some 9 kB a step; that ends by itself and is no leak.
  const flags = ["--expose-gc", "--no-opt", "--max-semi-space-size=1"];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, program], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  const { early, late } = JSON.parse(stdout) as { early: T; late: T };
  expect(late.live).toBe(early.live);
  expect((late.rss - early.rss) / 1000).toBeLessThan(1024);
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
