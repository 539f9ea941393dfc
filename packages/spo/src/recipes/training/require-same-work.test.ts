import { Generator, initialize, Linear, noGrad } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import { expect, test } from "vitest";
import { inRanks } from "../local-worlds.fixture.js";
import { requireSameModels, requireSameWork } from "./require-same-work.js";

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
  const nested = ranks(
    (rank) => ({ optimizer: { lr: 1 + rank, betas: [0.9, 0.99] }, objective: rank === 0 ? "dpo" : "sft" }),
    () => 8,
  );
  await expect(nested).rejects.toThrow(
    /settings\.\n {2}optimizer\.lr: rank 0 has 1, rank 1 has 2\n {2}objective: rank 0 has "dpo", rank 1 has "sft"$/,
  );
  const data = ranks(
    () => ({}),
    (rank) => 8 + rank,
  );
  await expect(data).rejects.toThrow(/same data\.\n {2}pairs: rank 0 has 8, rank 1 has 9/);
});

/** A layer; the weights of other ranks than the first are others where that is asked for. */
function layer({ rank }: World, [inputs, outputs]: readonly [number, number], isUnlike = false): Linear {
  const model = new Linear(inputs, outputs);
  initialize(model, new Generator(1));
  if (isUnlike && rank > 0) noGrad(() => void model.weight.mul_(2));
  return model;
}

test("processes of other models are refused by the model's name and rank, the same models are taken", async () => {
  const models = (unlike?: string) => (world: World) =>
    requireSameModels(world, {
      unet: layer(world, [40, 30], unlike === "unet"),
      vae: layer(world, [40, 30], unlike === "vae"),
      teacher: undefined,
    });
  await inRanks(3, models());
  await expect(inRanks(3, models("vae"))).rejects.toThrow(
    /same models\.\n {2}vae: rank 0 has "\w+", rank 1 has "\w+"\n {2}vae: rank 0 has "\w+", rank 2 has "\w+"$/,
  );
});

test("a model of other shapes is another model", async () => {
  const models = (world: World) =>
    requireSameModels(world, { spm: layer(world, world.rank === 0 ? [40, 30] : [30, 40]) });
  await expect(inRanks(2, models)).rejects.toThrow(/same models\.\n {2}spm: rank 0/);
});
