import { expect, test } from "vitest";
import { inRanks } from "../local-worlds.fixture.js";
import { requireSameWork } from "./require-same-work.js";

const ranks = (settings: (rank: number) => object, pairs: (rank: number) => number): Promise<unknown> =>
  inRanks(2, (world) => requireSameWork(world, settings(world.rank), { pairs: pairs(world.rank) }));

test("processes of other settings or data are refused by name and rank, settings that are not given are none", async () => {
  await ranks(
    (rank) => (rank === 0 ? { steps: 20 } : { steps: 20, width: undefined }),
    () => 8,
  );
  const words = ranks(
    (rank) => ({ seeds: [0, rank] }),
    () => 8,
  );
  await expect(words).rejects.toThrow(
    /same settings\.\n {2}seeds: rank 0 has "\[0,0\]", rank 1 has "\[0,1\]"/,
  );
  const data = ranks(
    () => ({}),
    (rank) => 8 + rank,
  );
  await expect(data).rejects.toThrow(/same data\.\n {2}pairs: rank 0 has 8, rank 1 has 9/);
});
