// Random tensors whose numbers do not depend on their device.
import type { Device, DType } from "./dtype.js";
import type { Generator } from "./generator.js";
import * as ops from "./ops.gen.js";
import { scope } from "./scope.js";
import type { Tensor } from "./tensor.js";

interface DrawOptions {
  generator?: Generator;
  dtype?: DType;
  device?: Device;
}

/**
 * Standard normal numbers. They are drawn where the generator is and then moved: a CPU's generator gives the same numbers to every device.
 *
 * Source: diffusers, `randn_tensor`.
 */
export const randn = (size: readonly number[], options: DrawOptions = {}): Tensor =>
  placed(options, (at) => ops.randn(size, at));

/** Numbers from U[0, 1), drawn as `randn` draws. */
export const rand = (size: readonly number[], options: DrawOptions = {}): Tensor =>
  placed(options, (at) => ops.rand(size, at));

function placed({ device, ...options }: DrawOptions, draw: (options: DrawOptions) => Tensor): Tensor {
  const from = options.generator?.device ?? device;
  if (from === device || device === undefined) return draw({ ...options, device: from });
  return scope(() => draw({ ...options, device: from }).to({ device }));
}
