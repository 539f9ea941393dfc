// The training of a comparison that a guard stops, on models so small that it takes a second.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readRun } from "@spo/records";
import { readSafetensors, scope } from "@spo/torch";
import { expect, test } from "vitest";
import { makeTinyWorld } from "../recipes/tiny-world.fixture.js";
import { TrainSpoConfig } from "../recipes/train-spo/train-spo-config.js";
import { readSnapshot } from "./snapshot.js";
import { trainPolicy } from "./train-job.js";

test("where a guard stops a training, this and every later snapshot have its best weights", async () => {
  const folder = mkdtempSync(join(tmpdir(), "spo-train-job-"));
  try {
    const world = await makeTinyWorld(join(folder, "world"));
    const config = TrainSpoConfig.parse({
      ...{ model: world.model, spm: world.spm, prompts: world.prompts, output: join(folder, "model") },
      ...{
        rounds: 9,
        promptsPerRound: 4,
        steps: 3,
        firstBranch: 0,
        threshold: 0,
        saveEvery: 1000,
        batch: 16,
      },
      ...{ microBatch: 16, guidanceScale: 2, adapter: "full", stripEvery: 100, samples: 3, sampleEvery: 1 },
      ...{ optimizer: { lr: 3e-2 }, guards: { imagesPerPrompt: 2, minDiversity: 0.999 } },
    });
    const run = join(folder, "run");
    const to = (name: string): string => join(folder, name);
    for (const name of ["first", "second"]) {
      const job = { kind: "policy", folder: run, snapshot: to(name), seconds: 1000, clock: "cpu" } as const;
      for await (const _ of trainPolicy({ ...job, train: "spo", config }, new AbortController().signal));
    }
    const { step } = readSnapshot(to("first")) as { step: number };
    expect(readSnapshot(to("second"))?.step).toBe(step);
    expect(readRun(run).result).toMatchObject({ best: step, stopped: expect.stringContaining("alike") });
    expect(readRun(run).events.findLast(({ type }) => type === "step")).toMatchObject({ step: step + 1 });
    const best = join(run, "best", `step-${String(step).padStart(8, "0")}`, "policy.safetensors");
    scope(() => {
      const kept = readSafetensors(best);
      for (const [name, value] of readSafetensors(join(to("second"), "policy.safetensors")))
        expect(value.toNumbers(), name).toEqual(kept.get(`policy/${name}`)?.toNumbers());
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
