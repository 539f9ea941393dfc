import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { AdamW, AdamW8bit, liveTensors, noGrad, scope, type Tensor, tensor } from "../index.js";
import { Blockwise8bit, dynamicMap } from "./blockwise-8bit.js";

// Made by golden/adamw_8bit.py with bitsandbytes.
const golden = JSON.parse(readFileSync(new URL("../../golden/adamw-8bit.json", import.meta.url), "utf8")) as {
  codes: Record<"signed" | "unsigned", Record<"values" | "map" | "codes" | "absmax", number[]>>;
  shape: [number, number];
  settings: { lr: number; betas: [number, number]; eps: number };
  sizes: number[];
  after: number[][];
};

test.each(["signed", "unsigned"] as const)(
  "%s numbers have the nearest codes of bitsandbytes' map, block by block",
  (name) =>
    scope(() => {
      const { values, map, codes, absmax } = golden.codes[name];
      const ours = dynamicMap(name === "signed");
      expect(ours).toHaveLength(256);
      for (const [i, value] of map.entries()) expect(ours[i]).toBeCloseTo(value, 6);
      const stored = new Blockwise8bit(values.length, { signed: name === "signed", device: "cpu" });
      stored.write(0, tensor(values));
      expect(stored.largest.toNumbers()).toEqual(absmax);
      expect(stored.codes.toNumbers()).toEqual(codes);
      const read = stored.read(256, values.length - 256).toNumbers();
      for (const [i, value] of read.entries())
        expect(value).toBeCloseTo((map[codes[256 + i] as number] as number) * (absmax[1] as number), 3);
      stored.dispose();
    }),
);

/** The numbers of the golden parameter and of its gradient in a step. */
const numbers = (of: (k: number) => number): Tensor =>
  tensor(
    Array.from({ length: golden.shape[0] * golden.shape[1] }, (_, k) => of(k)),
    { shape: golden.shape },
  );
const gradient = (size: number): Tensor => numbers((k) => size * Math.cos(0.91 * k + size));

test("its steps are those of bitsandbytes, and leave nothing behind", () =>
  scope(() => {
    const parameter = numbers((k) => Math.sin(0.37 * k));
    const before = liveTensors();
    const optimizer = new AdamW8bit([parameter], { ...golden.settings, weightDecay: 0 });
    for (const [i, size] of golden.sizes.entries()) {
      parameter.grad = gradient(size);
      optimizer.step();
      optimizer.zeroGrad();
      const found = parameter.toNumbers().filter((_, k) => k % 37 === 0);
      for (const [k, value] of (golden.after[i] as number[]).entries())
        expect(Math.abs((found[k] as number) - value)).toBeLessThan(2e-5);
    }
    expect(optimizer.state().get("exp_avg.0")?.dtype).toBe("uint8");
    optimizer.dispose();
    expect(liveTensors() - before).toBeLessThanOrEqual(golden.sizes.length); // the gradients, of this scope
  }));

test("a small parameter has AdamW's own moments, with weight decay too", () =>
  scope(() => {
    const [ours, plain] = [0, 1].map(() => tensor([1, -2, 3])) as [Tensor, Tensor];
    const options = { lr: 0.1, weightDecay: 0.3 };
    const optimizers = [new AdamW8bit([ours], options), new AdamW([plain], options)];
    for (const g of [0.5, -2]) {
      for (const parameter of [ours, plain]) parameter.grad = tensor([g, 0.1, g * g]);
      for (const optimizer of optimizers) optimizer.step();
    }
    expect(ours.toNumbers()).toEqual(plain.toNumbers());
    for (const optimizer of optimizers) optimizer.dispose();
  }));

test("bfloat16 parameters go on average as far as exact ones, by steps that rounding to nearest would lose", () =>
  scope(() => {
    const start = 1.5;
    const parameter = noGrad(() => numbers(() => start).to({ dtype: "bfloat16" }));
    const optimizer = new AdamW8bit([parameter], { lr: 1e-4, weightDecay: 0, seed: 3 });
    const STEPS = 10;
    for (let i = 0; i < STEPS; i++) {
      parameter.grad = numbers(() => 1).to({ dtype: "bfloat16" });
      optimizer.step();
    }
    expect(parameter.dtype).toBe("bfloat16");
    const moved = start - parameter.to({ dtype: "float32" }).mean().item();
    expect(moved / (STEPS * 1e-4)).toBeGreaterThan(0.8);
    expect(moved / (STEPS * 1e-4)).toBeLessThan(1.2);
    optimizer.dispose();
  }));

test("another order in memory changes no number, and a saved state goes on to the same bits", () =>
  scope(() => {
    const run = (turned: boolean, resumes: boolean): number[] => {
      const parameter = turned
        ? numbers(Math.sin).transpose(0, 1).contiguous().transpose(0, 1)
        : numbers(Math.sin);
      let optimizer = new AdamW8bit([parameter], { lr: 0.01 });
      for (const size of golden.sizes) {
        parameter.grad = gradient(size);
        optimizer.step();
        if (!resumes) continue;
        const next = new AdamW8bit([parameter], { lr: 0.01 });
        for (const [name, target] of next.state()) target.copy_(optimizer.state().get(name) as Tensor);
        optimizer.dispose();
        optimizer = next;
      }
      optimizer.dispose();
      return parameter.toNumbers();
    };
    const plain = run(false, false);
    expect(run(true, false)).toEqual(plain);
    expect(run(false, true)).toEqual(plain);
  }));
