import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cli } from "./cli.js";
import { makeTinyWorld, type TinyWorld } from "./tiny-models.js";

let folder: string;
let world: TinyWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "spo-plan-"));
  world = await makeTinyWorld(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("a plan for a device that this machine lacks", () => {
  test.each(["cuda:3", "mps"])("%s is made all the same", async (device) => {
    const dpo = ["plan", "dpo", "--model", world.model, "--adapter", "lora", "--batch", "1"];
    for (const words of [dpo, ["plan", "sample", "--model", world.model]]) {
      const { code, stdout, stderr } = await cli([...words, "--device", device]);
      expect({ code, stderr }).toMatchObject({
        code: 0,
        stderr: expect.stringContaining("none has been measured"),
      });
      expect(stdout).toMatch(/^peak /m);
    }
  });

  test("is refused where no device has such a name", async () => {
    const { code, stderr } = await cli(["plan", "sample", "--model", world.model, "--device", "gpu"]);
    expect(code).toBe(3);
    expect(stderr).toContain('There is no device "gpu"');
  });
});

describe("--memory", () => {
  const plan = (...more: string[]) =>
    cli([
      "plan",
      "dpo",
      "--model",
      world.model,
      "--adapter",
      "lora",
      "--batch",
      "8",
      "--micro-batch",
      "8",
      ...more,
    ]);

  test("says that a job fits, and how much is to spare", async () => {
    const { code, stdout } = await plan("--memory", "100GB");
    expect(code).toBe(0);
    expect(stdout).toMatch(/It fits in 100 GB: .* are to spare\.$/m);
  });

  test("exits with 1 where it does not, with settings that a plan then finds to fit", async () => {
    const asked = JSON.parse((await plan("--json")).stdout) as { memory: { peak: number } };
    const megabytes = `${(asked.memory.peak - 1000) / 1e6}MB`;
    const { code, stdout } = await plan("--json", "--memory", megabytes);
    expect(code).toBe(1);
    const { fit } = JSON.parse(stdout) as { fit: { fits: boolean; fitsWith: boolean; settings: string } };
    expect(fit).toMatchObject({ fits: false, fitsWith: true, settings: "--micro-batch 4" });
    expect((await plan("--memory", megabytes, ...fit.settings.split(" "))).code).toBe(0);
    expect((await plan("--memory", megabytes)).stdout).toMatch(
      /It fits with these settings: --micro-batch 4$/m,
    );
  });

  test("says so where no setting is enough", async () => {
    const { code, stdout } = await plan("--memory", "1MB");
    expect(code).toBe(1);
    expect(stdout).toMatch(/Nor does it fit with all of them: --micro-batch 1 /);
  });
});
