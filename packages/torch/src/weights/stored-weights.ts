// Weights as they are written to files: in another element type, and never with NaN or infinity.
import { type DType, isFloating } from "../dtype.js";
import { UserError } from "../errors.js";
import { noGrad } from "../modes.js";
import { notFiniteAt } from "../not-finite.js";
import { scope } from "../scope.js";
import type { Tensor } from "../tensor.js";

/** Weights that an error names. */
const SHOWN = 5;

/** Names of the tensors that hold NaN or infinity. */
export const notFinite = (tensors: Iterable<readonly [string, Tensor]>): string[] =>
  [...tensors].flatMap(([name, x]) =>
    isFloating(x.dtype) && scope(() => notFiniteAt(x).any().item()) ? [name] : [],
  );

/**
 * Weights in the element type of a file: new tensors where it differs, without `dtype` the same tensors.
 *
 * place: what is written, for messages. Throws a UserError (`NUMERIC`) that names the weights with NaN or infinity, and those that become
 * infinite in `dtype`: float16 ends at 65,504.
 */
export function storedWeights(
  weights: ReadonlyMap<string, Tensor>,
  { dtype, place }: { dtype?: DType; place: string },
): Map<string, Tensor> {
  return scope(() => {
    const stored = new Map([...weights].map(([name, x]) => [name, inType(x, dtype)]));
    const bad = notFinite(stored);
    if (bad.length === 0) return stored;
    const broken = notFinite(bad.map((name) => [name, weights.get(name) as Tensor] as const));
    throw broken.length > 0
      ? refusal(place, `${counted(broken)} NaN or infinity`, broken, BROKEN)
      : refusal(place, `${counted(bad)} numbers too large for ${dtype}`, bad, TOO_LARGE);
  });
}

/** Throws as `storedWeights`, and keeps nothing. */
export function requireStorable(
  weights: ReadonlyMap<string, Tensor>,
  options: { dtype?: DType; place: string },
): void {
  for (const [name, x] of weights) {
    scope(() => {
      if (notFinite([[name, inType(x, options.dtype)]]).length > 0) storedWeights(weights, options);
    });
  }
}

const BROKEN = "Get the checkpoint again, or leave out the adapter or training that brought them in.";
const TOO_LARGE = "bfloat16 and float32 hold them: --dtype bfloat16.";

const inType = (x: Tensor, dtype: DType | undefined): Tensor =>
  dtype ? noGrad(() => x.detach().to({ dtype: isFloating(x.dtype) ? dtype : x.dtype })) : x;

const counted = (names: readonly string[]): string =>
  names.length === 1 ? "a weight has" : `${names.length} weights have`;

function refusal(place: string, what: string, names: readonly string[], hint: string): UserError {
  const rest = names.length > SHOWN ? `, and ${names.length - SHOWN} more` : "";
  return new UserError(`${place} is not written: ${what}: ${names.slice(0, SHOWN).join(", ")}${rest}.`, {
    code: "NUMERIC",
    hint,
  });
}
