import { type Module, notFinite, notFiniteAt, scope, type Tensor, UserError } from "@spo/torch";
import type { TextToImage } from "../families/family.js";

/** Weights that are named at most. */
const SHOWN = 5;

/**
 * Throws a UserError (`NUMERIC`) where an image is not finite, which a file would show as black, and names the weights that are to blame.
 *
 * pixels [n, 3, h, w] that `pipe` has made; nameOf: what the image at a place is called.
 */
export function requireFinite(
  pixels: Tensor,
  pipe: Pick<TextToImage, "models">,
  nameOf: (place: number) => string,
): void {
  const bad = scope(() => notFiniteAt(pixels).flatten(1).any(1).toNumbers()).flatMap((odd, place) =>
    odd ? [place] : [],
  );
  const [first] = bad;
  if (first === undefined) return;
  const images = `${bad.length === 1 ? "An image is" : `${bad.length} images are`} not finite, the first ${nameOf(first)}`;
  const weights = Object.entries(pipe.models).flatMap(([part, model]: [string, Module]) =>
    notFinite(model.namedParameters()).map((name) => `${part}  ${name}`),
  );
  if (weights.length === 0) {
    throw new UserError(`${images}: the computation overflowed, all weights are finite.`, {
      code: "NUMERIC",
      hint: "float16 overflows where float32 and bfloat16 do not; so does a very large guidance or weight of an adapter.",
    });
  }
  const shown = weights.slice(0, SHOWN).map((name) => `  ${name}`);
  if (weights.length > SHOWN) shown.push(`  and ${weights.length - SHOWN} more`);
  throw new UserError(`${images}. These weights hold NaN or infinity:\n${shown.join("\n")}`, {
    code: "NUMERIC",
    hint: "Copy or download the checkpoint again, or leave out the adapter that brought them in.",
  });
}
