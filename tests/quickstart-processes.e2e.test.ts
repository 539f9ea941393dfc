// The quickstart by two processes, on an example whose trainings and measurements are as short as they can be.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRun } from "@spo/records";
import { expect, test } from "vitest";
import { cli } from "./cli.js";

const EXAMPLE = fileURLToPath(new URL("../examples/emoji", import.meta.url));

function writeExample(folder: string): void {
  mkdirSync(join(folder, "prompts"), { recursive: true });
  for (const name of ["model", "latent", "judge", "data", "results"])
    symlinkSync(join(EXAMPLE, name), join(folder, name));
  for (const name of ["train.txt", "held-out.txt"]) {
    const [first, second] = readFileSync(join(EXAMPLE, "prompts", name), "utf8").split("\n");
    writeFileSync(join(folder, "prompts", name), `${first}\n${second}\n`);
  }
  const batches = { batch: 2, microBatch: 1, saveEvery: 1 };
  writeFileSync(
    join(folder, "quickstart.json"),
    JSON.stringify({
      spm: {
        ...batches,
        kind: "latent",
        init: "latent",
        featureGuidance: 1,
        steps: 1,
        warmup: 0,
        bank: 0,
        evalPairs: 0,
      },
      spo: {
        ...{ ...batches, rounds: 1, promptsPerRound: 2, steps: 2, firstBranch: 0, candidates: 2 },
        ...{ threshold: 0, samples: 0, adapter: "full" },
      },
      evaluation: { seeds: [1, 2, 3], perPrompt: 1, steps: 1, guidanceScale: 3, eta: 1 },
      fast: { spm: {}, spo: {}, evaluation: {} },
    }),
  );
}

test("two processes make one quickstart, and measure the images that one process measures, in its order", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-quickstart-"));
  try {
    writeExample(join(folder, "example"));
    const output = join(folder, "out");
    const words = ["quickstart", "--example", join(folder, "example"), "--output", output, "--json"];
    const two = await cli([...words, "--nproc", "2"]);
    expect(two.code, two.stderr).toBe(0);
    expect(two.stdout.trim().split("\n")).toHaveLength(1);
    for (const run of ["spm", "spo"])
      expect(readRun(join(output, run)).events.filter(({ type }) => type === "done")).toHaveLength(1);
    const measured = (): string => readFileSync(join(output, "evaluation-spo.json"), "utf8");
    const byTwo = measured();
    expect(JSON.parse(byTwo).images.map(({ seed }: { seed: number }) => seed)).toEqual([1, 1, 2, 2, 3, 3]);
    rmSync(join(output, "evaluation-spo.json"));
    const one = await cli(words);
    expect(one.code, one.stderr).toBe(0);
    expect(measured()).toBe(byTwo);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
