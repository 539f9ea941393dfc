import { expect, test } from "vitest";
import { constantDecay, Ema, keep, liveTensors, powerDecay, scope, tensor, WIDEST } from "../index.js";

test("an average follows average ← decay·average + (1 − decay)·parameter, with a smaller decay in early steps", () =>
  scope(() => {
    const x = tensor([1, -2], { dtype: "float64" });
    const ema = new Ema([x], constantDecay(0.5));
    let expected = [1, -2];
    for (let step = 0; step < 30; step++) {
      const now = [Math.sin(step), step / 3];
      x.copy_(tensor(now, { dtype: "float64" }));
      ema.update(step);
      const decay = Math.min(0.5, (1 + step) / (10 + step));
      expected = expected.map((value, i) => decay * value + (1 - decay) * (now[i] as number));
      for (const [i, value] of (ema.state().get("ema.0")?.toNumbers() ?? []).entries())
        expect(value).toBeCloseTo(expected[i] as number, 10);
    }
    ema.dispose();
  }));

test("a power's average has the width that was asked for, wherever the training ends", () => {
  for (const width of [0.02, 0.1, 0.2, WIDEST]) {
    const decayAt = powerDecay(width);
    let weights: number[] = []; // of the steps so far
    for (let step = 0; step < 500; step++) {
      weights = [...weights.map((weight) => weight * decayAt(step)), 1 - decayAt(step)];
      if (step !== 99 && step !== 499) continue;
      const sum = (of: (place: number) => number): number =>
        weights.reduce((total, weight, i) => total + weight * of((i + 1) / (step + 1)), 0);
      const mean = sum((place) => place);
      expect(sum(() => 1)).toBeCloseTo(1, 12); // nothing is left of before
      expect(Math.sqrt(sum((place) => (place - mean) ** 2))).toBeCloseTo(width, 2);
    }
  }
  for (const width of [0, 0.29, -1, Number.NaN]) expect(() => powerDecay(width)).toThrow(RangeError);
});

test("swap exchanges parameters and averages, and twice puts them back", () =>
  scope(() => {
    const x = tensor([1]);
    const ema = new Ema([x], constantDecay(0.9));
    x.fill_(5);
    ema.swap();
    expect([x.item(), ema.state().get("ema.0")?.item()]).toEqual([1, 5]);
    ema.swap();
    expect([x.item(), ema.state().get("ema.0")?.item()]).toEqual([5, 1]);
    ema.dispose();
  }));

test("averages belong to no scope, and neither update nor swap leaves a tensor", () => {
  const before = liveTensors();
  const x = keep(tensor([1]));
  const ema = scope(() => new Ema([x], constantDecay(0.9)));
  expect(liveTensors() - before).toBe(2);
  scope(() => {
    ema.update(0);
    ema.swap();
    expect(liveTensors() - before).toBeLessThanOrEqual(3);
  });
  expect(liveTensors() - before).toBe(2);
  ema.dispose();
  x.dispose();
});
