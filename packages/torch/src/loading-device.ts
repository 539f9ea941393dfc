// Where weights go when nobody says where.
import type { Device } from "./dtype.js";

let current: Device | undefined;

/**
 * Until it is disposed of, `loadWeights` puts what is given no device of its own on this one. Nested ones are disposed of in reverse
 * order. Tensors that are made, not loaded, stay where their maker puts them: a default for these would hide a forgotten device.
 */
export function loadingOn(device: Device): Disposable {
  const before = current;
  current = device;
  return {
    [Symbol.dispose]: () => {
      current = before;
    },
  };
}

/** The device of `loadingOn`; undefined outside of one: weights then stay where they are read, on the CPU. */
export const loadingDevice = (): Device | undefined => current;
