import { WorkMeter } from "@spo/records";
import { expect, test } from "vitest";
import { inRanks } from "../local-worlds.fixture.js";
import { spentTogether } from "./spent-together.js";

/** Of a process that computed so many passes, in two phases. */
function metered(passes: number): WorkMeter {
  const meter = new WorkMeter();
  meter.count("unetPolicy", passes);
  for (const phase of ["sampling", "backward"]) meter.phase(phase, () => undefined);
  return meter;
}

test("several processes' passes are added up, and what each computed is told by rank", async () => {
  const found = await inRanks(3, (world) => spentTogether(world, metered(world.rank + 1)));
  for (const [rank, { passes, phases, ranks }] of found.entries()) {
    expect(passes.unetPolicy).toBe(6);
    expect(ranks).toEqual(found[0]?.ranks);
    const { sampling, backward } = phases as Record<string, { wall: number }>;
    expect(ranks?.[rank]).toBeCloseTo((sampling?.wall ?? 0) + (backward?.wall ?? 0), 12);
  }
  expect(found[0]?.ranks).toHaveLength(3);
});

test("one process has no ranks to tell", async () => {
  const [found] = await inRanks(1, (world) => spentTogether(world, metered(2)));
  expect(found?.ranks).toBeUndefined();
});
