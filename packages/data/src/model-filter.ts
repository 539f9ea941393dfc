import { UserError } from "@spo/torch/files";
import type { PairFacts } from "./preference.js";

/** Which pairs take part, by the models that made their images. */
export interface ModelFilter {
  /** Both images are by one model. */
  sameModel?: boolean;
  /** Both images are by models of this list. */
  models?: readonly string[];
}

/** Whether a pair takes part. A pair whose models are not named takes part only where nothing is asked of them. */
export function passesFilter(
  { model0, model1 }: Pick<PairFacts, "model0" | "model1">,
  { sameModel = false, models }: ModelFilter,
): boolean {
  if (!sameModel && models === undefined) return true;
  if (model0 === undefined || model1 === undefined) return false;
  if (sameModel && model0 !== model1) return false;
  return models === undefined || (models.includes(model0) && models.includes(model1));
}

/** Throws a UserError (`DATA`) that says why no pair is left. seen: the models of all pairs. */
export function noneLeft(
  { sameModel, models }: ModelFilter,
  seen: ReadonlySet<string>,
  split?: string,
): never {
  const asked = [
    split === undefined ? "" : ` of the split ${split}`,
    sameModel ? " whose images are by one model" : "",
    models ? ` by ${models.join(", ")}` : "",
  ].join("");
  const named = [...seen].sort().slice(0, 20).join(", ");
  throw new UserError(`There is no pair${asked}: nothing was written.`, {
    code: "DATA",
    hint:
      sameModel || models
        ? named
          ? `The set names the models ${named}.`
          : "The set names no models."
        : undefined,
  });
}
