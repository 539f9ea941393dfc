import { native } from "@spo/native";
import { wrongArgument } from "./arguments.js";
import type { Device } from "./dtype.js";
import { wrap } from "./handle.js";
import type { Tensor } from "./tensor.js";

const registry = new FinalizationRegistry<number>((handle) => native.releaseGenerator(handle));

/**
 * A stream of random numbers: libtorch's own (Mersenne Twister on the CPU), so that a seed gives what Python's torch gives.
 *
 * Every random operator takes one; nothing here draws from a hidden global stream.
 */
export class Generator {
  /** @internal */
  readonly handle: number;
  readonly seed: number | bigint;
  /** Where it draws. */
  readonly device: Device;

  /** seed: an integer in [0, 2^53], or a bigint of 63 bits. On the CPU the low 32 bits count, as in Python's torch. */
  constructor(seed: number | bigint, device: Device = "cpu") {
    this.seed = seed;
    this.device = device;
    this.handle = native.generator(seed, device);
    registry.register(this, this.handle);
  }

  /** The state as bytes, for a checkpoint. */
  state(): Tensor {
    return wrap(native.generatorState(this.handle));
  }

  setState(state: Tensor): this {
    native.setGeneratorState(this.handle, state.handle);
    return this;
  }
}

/**
 * @internal The engine's handle of a random operator's generator, or null for none. Throws a TypeError for anything else, such as a seed.
 */
export function generatorHandle(value: Generator | null | undefined, operator: string): number | null {
  if (value === null || value === undefined) return null;
  if (value instanceof Generator) return value.handle;
  throw wrongArgument(operator, "generator", "a Generator", value);
}
