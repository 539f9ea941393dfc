// The update of several ranks: what they decide together, what they exchange, and that they stay alike.
import { AdamW, type Tensor, tensor } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import { expect, test } from "vitest";
import { inRanks } from "../local-worlds.fixture.js";
import { CHECKED_EVERY, Update } from "./update.js";

/** A rank's parameters and update. */
function partOf(world: World, reduce: "sum" | "exact" = "sum") {
  const parameters = [tensor([1, -2, 3]), tensor([4])];
  for (const parameter of parameters) parameter.requiresGrad = true;
  const optimizer = new AdamW(parameters, { lr: 0.1 });
  return { parameters, update: new Update({ parameters, optimizer, maxGradNorm: null, world, reduce }) };
}

const valuesOf = (parameters: readonly Tensor[]): number[] => parameters.flatMap((each) => each.toNumbers());

test("a gradient that is not finite in one rank leaves the same update out in all, and they stay alike", async () => {
  const found = await inRanks(3, async (world) => {
    const { parameters, update } = partOf(world);
    const warned: number[] = [];
    for (let step = 0; step < 3; step++) {
      const bad = step === 1 && world.rank === 2;
      for (const parameter of parameters)
        parameter.grad = tensor(
          parameter.toNumbers().map((_, i) => (bad && i === 0 ? Number.NaN : world.rank + 1)),
        );
      const { warnings } = await update.apply({ loss: 1, lr: 0.1, where: `step ${step}` });
      if (warnings.length > 0) warned.push(step);
    }
    return { warned, values: valuesOf(parameters) };
  });
  expect(found[0]?.warned).toEqual([1]);
  for (const rank of found) expect(rank).toEqual(found[0]);
  for (const value of found[0]?.values ?? []) expect(value).not.toBeNaN();
});

test("a bit that flips in one rank is found, and the parameter and the ranks are named", async () => {
  const found = await inRanks(2, async (world) => {
    const { parameters, update } = partOf(world);
    for (let step = 0; step < 2 * CHECKED_EVERY; step++) {
      if (step === 3 && world.rank === 1) {
        const [, flipped] = parameters as [Tensor, Tensor];
        const plain = flipped.detach();
        plain.copy_(tensor([flipped.item() + 2 ** -21]));
      }
      for (const parameter of parameters) parameter.grad = tensor(parameter.toNumbers().map(() => 1));
      try {
        await update.apply({ loss: 1, lr: 0.1, where: "step" });
      } catch (error) {
        return { step, message: (error as Error).message };
      }
    }
    return undefined;
  });
  for (const rank of found) {
    expect(rank?.step).toBe(CHECKED_EVERY - 1);
    expect(rank?.message).toMatch(
      /do not have the same parameters\.\n {2}parameter 1 of 2: rank 0 has "\w+", rank 1 has "\w+"$/,
    );
  }
});

test.each([
  ["sum", 1],
  ["exact", 8],
] as const)(
  "by %s a step of eight parts sends its gradient %i times, and less than 4 kB beside",
  async (reduce, times) => {
    const numbers = 100_000;
    const [sent] = await inRanks(2, async (world) => {
      const counted = { bytes: 0 };
      const count = (tensor: Tensor): void => {
        counted.bytes += 4 * tensor.numel;
      };
      const counting: World = {
        ...world,
        allReduce: (tensor) => {
          count(tensor);
          return world.allReduce(tensor);
        },
        allGather: (tensor) => {
          count(tensor);
          return world.allGather(tensor);
        },
        gather: (value) => {
          counted.bytes += JSON.stringify(value ?? null).length;
          return world.gather(value);
        },
      };
      const parameter = tensor(new Float32Array(numbers));
      parameter.requiresGrad = true;
      const optimizer = new AdamW([parameter], { lr: 0.1 });
      const update = new Update({
        parameters: [parameter],
        optimizer,
        maxGradNorm: 1,
        world: counting,
        reduce,
      });
      const mine = [];
      for (const part of update.share(16, 1)) {
        if (part) parameter.grad = tensor(new Float32Array(numbers).fill(1));
        mine.push({ loss: 1 });
        await update.endPart();
      }
      await update.gatherParts(mine);
      await update.apply({ loss: 1, lr: 0.1, where: "step 1" });
      return counted.bytes;
    });
    expect(sent).toBeGreaterThanOrEqual(times * 4 * numbers);
    expect(sent).toBeLessThan(times * 4 * numbers + 4096);
  },
);
