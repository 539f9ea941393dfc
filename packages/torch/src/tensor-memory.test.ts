// The memory that tensors get from the addon's allocators (native/src/small-blocks.h, large-blocks.h).
import fc from "fast-check";
import { expect, test } from "vitest";
import { trimMemory } from "./modes.js";
import { empty } from "./ops.gen.js";
import { scope } from "./scope.js";
import type { Tensor } from "./tensor.js";

test("no two living tensors share memory, whatever was freed before and of whatever size", () => {
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: 64 }),
    fc.integer({ min: 0, max: 6 }).map((n) => (64 << 10) / 4 + n - 3), // around a step of an alignment
    fc.constantFrom((256 << 10) / 4, (256 << 10) / 4 + 1, (1 << 20) / 4), // around where another kind of block begins
  );
  const turns = fc.array(fc.record({ size: sizes, free: fc.nat(), trims: fc.boolean() }), {
    minLength: 20,
    maxLength: 60,
  });
  fc.assert(
    fc.property(turns, (all) =>
      scope(() => {
        const living: [Tensor, number][] = [];
        for (const [i, { size, free, trims }] of all.entries()) {
          const made = empty([size]).fill_(i);
          living.push([made, i]);
          if (living.length > 6) living.splice(free % living.length, 1)[0]?.[0].dispose();
          if (trims && i % 7 === 0) trimMemory();
        }
        for (const [tensor, value] of living)
          expect([tensor.min().item(), tensor.max().item()]).toEqual([value, value]);
      }),
    ),
    { numRuns: 8, seed: 5 },
  );
});
