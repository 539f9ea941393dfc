import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

test("a thousand training steps leave no tensor and at most 1 kB a step", () => {
  const program = fileURLToPath(new URL("./training-steps.mjs", import.meta.url));
  // Without --no-opt, V8 compiles the loop anew as it warms up, some 9 kB a step; that ends by itself and is no leak.
  const flags = ["--expose-gc", "--no-opt", "--max-semi-space-size=1"];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, program], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  const { early, late } = JSON.parse(stdout);
  expect(late.loss).toBeLessThan(early.loss / 2); // it did train
  expect(late.live).toBe(early.live);
  expect((late.rss - early.rss) / 1000).toBeLessThan(1024);
});
