// What a UNet is told of the prompts of a run, encoded once where that fits.
import type { Conditions, GuidedConditions, TextToImage } from "@spo/diffusion";
import { keep, noGrad, scope, type Tensor, tensor } from "@spo/torch";

/** The encodings of this many prompts are kept; of a longer list those of a round are made in that round. */
const KEPT = 256;

/**
 * Gives the conditions of the prompts with the given places: one row each, and one row that guidance goes away from. Call it within the scope
 * that uses them.
 *
 * size: height and width of the images in pixels.
 */
export function promptConditions(
  pipe: TextToImage,
  prompts: readonly string[],
  size: readonly [number, number],
): (places: readonly number[]) => GuidedConditions {
  const encode = (texts: readonly string[]): Conditions => pipe.encode(texts, { size }).conditional;
  // The same for every prompt: one row serves all.
  const unconditional = keep(noGrad(() => scope(() => pipe.encode([""], { size }).unconditional)));
  if (prompts.length > KEPT) {
    return (places) => {
      const texts = places.map((place) => prompts[place] as string);
      return { conditional: noGrad(() => scope(() => encode(texts))), unconditional };
    };
  }
  const all = keep(noGrad(() => scope(() => encode(prompts))));
  return (places) => ({ conditional: conditionsOf(all, places), unconditional });
}

/** The rows at the given places. */
function conditionsOf({ context, added }: Conditions, places: readonly number[]): Conditions {
  return scope(() => {
    const index = tensor([...places], { dtype: "int64", device: context.device });
    const rows = (of: Tensor): Tensor => of.indexSelect(0, index);
    return {
      context: rows(context),
      ...(added && { added: { textEmbeds: rows(added.textEmbeds), timeIds: rows(added.timeIds) } }),
    };
  });
}

/** Frees the rows of a round. What guidance goes away from is every round's. */
export function disposeConditions({ conditional: { context, added } }: GuidedConditions): void {
  for (const tensor of [context, added?.textEmbeds, added?.timeIds]) tensor?.dispose();
}
