import { expect, test } from "vitest";
import { keptKernelBytes } from "./kept-kernels.js";
import { Conv2d, Linear } from "./layers.js";

test("small frozen kernels 3×3 are kept four times as large, once for each direction, and never more than 64 MiB", () => {
  const small = new Conv2d(128, 64, 3);
  const bytes = 4 * 128 * 64 * 36;
  expect(keptKernelBytes([small])).toBe(bytes);
  expect(keptKernelBytes([small], [small])).toBe(2 * bytes);
  for (const other of [new Conv2d(512, 256, 3), new Conv2d(64, 64, 1), new Linear(3, 3)])
    expect(keptKernelBytes([other])).toBe(0);
  expect(keptKernelBytes(Array.from({ length: 1000 }, () => new Conv2d(128, 64, 3)))).toBe(64 << 20);
  expect(keptKernelBytes([small.requiresGrad_()])).toBe(0);
});
