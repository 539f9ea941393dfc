import { expect, test } from "vitest";
import { Ema, keep, liveTensors, scope, tensor } from "../index.js";

test("an average follows average ← decay·average + (1 − decay)·parameter, with a smaller decay in early steps", () =>
  scope(() => {
    const x = tensor([1, -2], { dtype: "float64" });
    const ema = new Ema([x], 0.5);
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

test("swap exchanges parameters and averages, and twice puts them back", () =>
  scope(() => {
    const x = tensor([1]);
    const ema = new Ema([x], 0.9);
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
  const ema = scope(() => new Ema([x], 0.9));
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
