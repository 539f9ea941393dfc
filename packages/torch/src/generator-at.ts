import { Generator } from "./generator.js";
import { seedAt } from "./seed.js";

/**
 * A generator that depends on nothing but its arguments, so that any step can be drawn again without the ones before it: a run that is
 * killed and resumed needs no reader or generator state to be bit-exact.
 */
export function generatorAt(seed: number, ...path: readonly (number | string)[]): Generator {
  return new Generator(seedAt(seed, ...path));
}
