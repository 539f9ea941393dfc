import { AdamW, type Tensor, tensor } from "@spo/torch";
import { expect, test } from "vitest";
import type { Precision } from "./precision.js";
import { MOST_SKIPPED, Update } from "./update.js";

const start = [1, -2];
const betas = [0.9, 0.999] as const;
const [weightDecay, lr] = [0.1, 0.05];

function updateOf({
  maxGradNorm = null as number | null,
  precision = undefined as Precision | undefined,
  stepsWithoutGradient = false,
} = {}) {
  const parameter = tensor([...start], { dtype: "float64" });
  parameter.requiresGrad = true;
  const optimizer = new AdamW([parameter], { lr: 123, betas, weightDecay });
  const update = new Update({
    parameters: [parameter],
    optimizer,
    maxGradNorm,
    precision,
    stepsWithoutGradient,
  });
  /** An update with this gradient. */
  const apply = (gradient: readonly number[], loss = 1, where = "step 1") => {
    parameter.grad = tensor([...gradient], { dtype: "float64" });
    return update.apply({ loss, lr, where });
  };
  return { parameter, update, apply };
}

/** AdamW's first step from the formula. Source: algorithm 7. */
const adamW = (p: number, g: number): number => {
  const [m, v] = [(1 - betas[0]) * g, (1 - betas[1]) * g * g];
  return p * (1 - lr * weightDecay) - (lr * (m / (1 - betas[0]))) / (Math.sqrt(v / (1 - betas[1])) + 1e-8);
};

const expectNumbers = (found: Tensor, expected: readonly number[]): void => {
  for (const [i, value] of found.toNumbers().entries()) expect(value).toBeCloseTo(expected[i] as number, 12);
};

test("an update moves the parameters by AdamW at the given rate, and leaves no gradient behind", async () => {
  const { parameter, update, apply } = updateOf();
  const { metrics, warnings } = await apply([3, -4]);
  expectNumbers(parameter, [adamW(1, 3), adamW(-2, -4)]);
  expect(metrics).toEqual({ gradNorm: 5 });
  expect(warnings).toEqual([]);
  expect(parameter.grad).toBeUndefined();
  expect(update.isSound).toBe(true);
});

test("a gradient longer than the bound is made as long, and the norm told is the one before", async () => {
  const { parameter, apply } = updateOf({ maxGradNorm: 1e-8 }); // so short that eps of AdamW shows it
  const { metrics } = await apply([3, -4]);
  expect(metrics.gradNorm).toBe(5);
  const clipped = 1e-8 / (5 + 1e-6);
  expectNumbers(parameter, [adamW(1, 3 * clipped), adamW(-2, -4 * clipped)]);
});

test.each([
  ["a loss", [1, 1], Number.NaN],
  ["a gradient", [Number.POSITIVE_INFINITY, 1], 1],
] as const)(
  "%s that is not finite leaves the update out, with a warning that names the step",
  async (_, gradient, loss) => {
    const { parameter, update, apply } = updateOf();
    const { warnings } = await apply(gradient, loss, "step 41");
    expect(parameter.toNumbers()).toEqual(start);
    expect(parameter.grad).toBeUndefined();
    expect(warnings).toEqual([expect.stringMatching(/^step 41: .*update skipped, 1 in a row$/)]);
    expect(update.isSound).toBe(false);
    expect(() => update.requireSound("step 41")).toThrow(/not finite once, up to step 41/);
  },
);

test("ten updates left out in a row end a training, and one that is made begins the count anew", async () => {
  const { update, apply } = updateOf();
  const bad = (): Promise<object> => apply([1, 1], Number.NaN, "step 12");
  for (let i = 1; i < MOST_SKIPPED; i++) await bad();
  await apply([1, 1]);
  expect(update.isSound).toBe(true);
  update.requireSound("step 3");
  for (let i = 1; i < MOST_SKIPPED; i++) await bad();
  expect(MOST_SKIPPED).toBe(10);
  await expect(bad).rejects.toThrow(
    expect.objectContaining({ code: "NUMERIC", message: expect.stringContaining("step 12") }),
  );
});

test("an overflow of the loss scale leaves the update out and is neither warned of nor counted", async () => {
  const told: unknown[] = [];
  const overflows = {
    clipGradNorm: () => Number.POSITIVE_INFINITY,
    overflowed: () => true,
    finish: (...given: unknown[]) => {
      told.push(given);
      return { lossScale: 8, overflow: 1 };
    },
  } as unknown as Precision;
  const { parameter, update, apply } = updateOf({ precision: overflows });
  for (let i = 0; i <= MOST_SKIPPED; i++) {
    const { metrics, warnings } = await apply([1, 1], 2);
    expect(metrics).toEqual({ gradNorm: Number.POSITIVE_INFINITY, lossScale: 8, overflow: 1 });
    expect(warnings).toEqual([]);
  }
  expect(parameter.toNumbers()).toEqual(start);
  expect(told[0]).toEqual([2, Number.POSITIVE_INFINITY]);
  expect(update.isSound).toBe(true);
});

test("a parameter without a gradient stays where it is, or steps with one of zero where that is asked for", async () => {
  for (const stepsWithoutGradient of [false, true]) {
    const { parameter, update } = updateOf({ stepsWithoutGradient });
    await update.apply({ loss: 1, lr, where: "step 1" });
    // Of a step with a gradient of zero only the decay of the weights is left.
    const expected = stepsWithoutGradient ? start.map((p) => p * (1 - lr * weightDecay)) : start;
    expectNumbers(parameter, expected);
  }
});
