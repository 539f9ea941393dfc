// Preference pairs without labels from finished images: what several models made of the same prompts, for people to judge.
import { UserError } from "@spo/torch/files";
import type { ImageOfSet } from "./image-set.js";
import type { PairSource, PreferencePair } from "./preference.js";

/** The images of a model. */
export interface ImagesOfModel {
  model: string;
  images: readonly ImageOfSet[];
}

/**
 * Pairs of images, for each two models one of every image that both made: of one prompt, and of one seed where it is known. Of one model
 * alone, its images of a prompt two by two; none stands in two pairs.
 *
 * Throws a UserError (`DATA`) where there is no pair, or two models have one name.
 */
export function sideBySide(sets: readonly ImagesOfModel[]): PairSource {
  const names = sets.map(({ model }) => model);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new UserError(`Two folders are called ${twice}.`, {
      code: "DATA",
      hint: "Give them names, NAME=FOLDER.",
    });
  const [only] = sets;
  const pairs = sets.length === 1 && only ? pairsWithin(only) : pairsBetween(sets);
  if (pairs.length === 0)
    throw new UserError(
      sets.length === 1
        ? `${names[0]} has no two images of one prompt.`
        : `${names.join(", ")} have no image of the same prompt and seed.`,
      {
        code: "DATA",
        hint: "Draw them with the same --prompts and --seed; of one model, with --count 2 or more.",
      },
    );
  return {
    layout: "jsonl",
    blocks: [{ rows: pairs.length, bytes: pairs.length * 1e6 }],
    facts: async () => pairs,
    pairs: async () => pairs,
    where: (_, row) => `pair ${row}`,
    close: async () => {},
  };
}

function pairsBetween(sets: readonly ImagesOfModel[]): PreferencePair[] {
  const keyed = sets.map(({ model, images }) => ({ model, images: byKey(images) }));
  return keyed.flatMap((one, i) =>
    keyed.slice(i + 1).flatMap((other) =>
      [...one.images].flatMap(([key, image]) => {
        const beside = other.images.get(key);
        return beside ? [pairOf([one.model, other.model], [image, beside])] : [];
      }),
    ),
  );
}

function pairsWithin({ model, images }: ImagesOfModel): PreferencePair[] {
  const byPrompt = new Map<string, ImageOfSet[]>();
  for (const image of images) byPrompt.set(image.prompt, [...(byPrompt.get(image.prompt) ?? []), image]);
  return [...byPrompt.values()].flatMap((own) =>
    own.flatMap((image, i) => {
      const beside = i % 2 === 0 ? own[i + 1] : undefined;
      return beside ? [pairOf([model, model], [image, beside])] : [];
    }),
  );
}

/** By prompt and seed, and by the order among those of the same. */
function byKey(images: readonly ImageOfSet[]): Map<string, ImageOfSet> {
  const seen = new Map<string, number>();
  return new Map(
    images.map((each) => {
      const base = JSON.stringify([each.prompt, each.seed, each.image]);
      const number = seen.get(base) ?? 0;
      seen.set(base, number + 1);
      return [`${base} ${number}`, each];
    }),
  );
}

const pairOf = (
  [model0, model1]: readonly [string, string],
  [a, b]: readonly [ImageOfSet, ImageOfSet],
): PreferencePair => ({
  ...{ prompt: a.prompt, label0: Number.NaN, label1: Number.NaN, labelled: false },
  ...{ different: true, split: "train", model0, model1, seed0: a.seed, seed1: b.seed },
  image0: { path: a.path },
  image1: { path: b.path },
});
