import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { Adafactor, liveTensors, noGrad, tensor } from "../index.js";

/** By golden/adafactor.py. */
interface Golden {
  settings: { lr: number; weight_decay: number };
  shapes: Record<string, number[]>;
  start: Record<string, number[]>;
  gradients: Record<string, number[]>[];
  after: Record<string, number[]>[];
  after64: Record<string, number[]>[];
}
const golden: Golden = JSON.parse(
  readFileSync(new URL("../../golden/adafactor.json", import.meta.url), "utf8"),
);
const names = Object.keys(golden.shapes);

function parameters() {
  return names.map((name) => {
    const value = tensor(golden.start[name] as number[], { shape: golden.shapes[name] });
    value.requiresGrad = true;
    return value;
  });
}

test("steps as transformers' Adafactor does, factored or not, with its update clipped and decayed", () => {
  const trained = parameters();
  const { lr, weight_decay: weightDecay } = golden.settings;
  const optimizer = new Adafactor(trained, { lr, weightDecay });
  for (const [step, gradients] of golden.gradients.entries()) {
    for (const [i, name] of names.entries()) {
      const parameter = trained[i] as (typeof trained)[number];
      parameter.grad = tensor(gradients[name] as number[], { shape: golden.shapes[name] });
    }
    optimizer.step();
    for (const [i, name] of names.entries()) {
      const ours = (trained[i] as (typeof trained)[number]).detach().toNumbers();
      const exact = golden.after64[step]?.[name] as number[];
      // Twice as far from float64 as the peer's float32, and a few ulps.
      const theirs = Math.max(
        ...((golden.after[step] as Record<string, number[]>)[name] as number[]).map((v, j) =>
          Math.abs(v - (exact[j] as number)),
        ),
      );
      const error = Math.max(...ours.map((v, j) => Math.abs(v - (exact[j] as number))));
      expect(error, `${name}, step ${step + 1}`).toBeLessThanOrEqual(2 * theirs + 5e-7);
    }
  }
});

test("keeps rows and columns of a matrix, not every element, and goes on from a saved state bit for bit", () => {
  const [a, b] = [parameters(), parameters()];
  const [first, second] = [new Adafactor(a, { lr: 0.1 }), new Adafactor(b, { lr: 0.1 })];
  expect([...first.state()].map(([name, { shape }]) => [name, ...shape])).toEqual([
    ["exp_avg_sq_row.0", 3],
    ["exp_avg_sq_col.0", 5],
    ["step.0"],
    ["exp_avg_sq_row.1", 4, 3, 2],
    ["exp_avg_sq_col.1", 4, 3, 2],
    ["step.1"],
    ["exp_avg_sq.2", 6],
    ["step.2"],
  ]);
  const push = (trained: typeof a, optimizer: Adafactor, step: number): void => {
    for (const [i, name] of names.entries())
      (trained[i] as (typeof a)[number]).grad = tensor(golden.gradients[step]?.[name] as number[], {
        shape: golden.shapes[name],
      });
    optimizer.step();
  };
  push(a, first, 0);
  push(a, first, 1);
  noGrad(() => {
    for (const [i, parameter] of b.entries()) parameter.copy_(a[i] as (typeof a)[number]);
    for (const [name, value] of second.state()) value.copy_(first.state().get(name) as typeof value);
  });
  push(a, first, 2);
  push(b, second, 2);
  for (const [i, parameter] of b.entries())
    expect(parameter.toNumbers()).toEqual((a[i] as (typeof a)[number]).toNumbers());
  const before = liveTensors();
  first.step();
  expect(liveTensors()).toBe(before);
});
