// Figures of a set of images: scores with intervals, the comparison with the base, diversity and drift.
import { bootstrapMean, type Estimate, mean, signTest, winRate } from "@spo/records";

/** An image with what the metrics say of it. */
export interface ScoredImage {
  prompt: string;
  seed?: number;
  /** Its number among those of its prompt and seed. */
  image?: number;
  path: string;
  /** By the metric's name. */
  scores: Readonly<Record<string, number>>;
  /** Of length 1. */
  features?: readonly number[];
}

/** The mean of one metric over a set with its interval, and what it is beside the base's. */
export interface MetricFigures extends Estimate {
  /** This set less the base, image by image. */
  difference?: Estimate;
  /** Share of pairs in which this set's image scores higher. */
  wins?: Estimate;
  /** Two-sided p of the sign test over prompts: whether the mean difference of a prompt is as often below 0 as above. */
  signTest?: number;
}

/** The figures of one set of images. */
export interface SetFigures {
  images: number;
  prompts: number;
  /** Images that have their like in the base's set. */
  pairs?: number;
  metrics: Record<string, MetricFigures>;
  /** Mean distance between two images of one prompt; absent where no prompt has two. */
  diversity?: Estimate;
  /** Mean distance from the base's image of the same prompt and noise. */
  drift?: Estimate;
}

/**
 * Figures of a set, and against a base where one is given. All intervals are 95 % bootstrap intervals over prompts, since the images of one
 * prompt are no independent samples. Distances are 1 − cos of the features.
 */
export function setFigures(
  images: readonly ScoredImage[],
  metrics: readonly string[],
  base?: readonly ScoredImage[],
): SetFigures {
  const prompts = [...new Set(images.map(({ prompt }) => prompt))];
  const groups = images.map(({ prompt }) => prompt);
  const pairs = base && pairsOf(base, images);
  const found: SetFigures = { images: images.length, prompts: prompts.length, metrics: {} };
  if (pairs) found.pairs = pairs.length;
  for (const metric of metrics) {
    const of = ({ scores }: ScoredImage): number => scores[metric] as number;
    found.metrics[metric] = {
      ...bootstrapMean(images.map(of), { groups }),
      ...(pairs && pairs.length > 0 && against(pairs, of)),
    };
  }
  const diversity = prompts.flatMap((prompt) => {
    const distances = pairwise(images.filter((image) => image.prompt === prompt));
    return distances.length > 0 ? [mean(distances)] : [];
  });
  if (diversity.length > 0) found.diversity = bootstrapMean(diversity);
  const far = pairs?.flatMap(({ base: from, own }) =>
    from.features && own.features
      ? [{ prompt: own.prompt, distance: distance(from.features, own.features) }]
      : [],
  );
  if (far && far.length > 0) {
    found.drift = bootstrapMean(
      far.map((each) => each.distance),
      { groups: far.map(({ prompt }) => prompt) },
    );
  }
  return found;
}

interface ImagePairOf {
  base: ScoredImage;
  own: ScoredImage;
}

function against(
  pairs: readonly ImagePairOf[],
  of: (image: ScoredImage) => number,
): Required<Pick<MetricFigures, "difference" | "wins" | "signTest">> {
  const groups = pairs.map(({ own }) => own.prompt);
  const [before, after] = [pairs.map(({ base }) => of(base)), pairs.map(({ own }) => of(own))];
  const differences = after.map((value, i) => value - (before[i] as number));
  const byPrompt = [...new Set(groups)].map((prompt) =>
    mean(differences.filter((_, i) => groups[i] === prompt)),
  );
  return {
    difference: bootstrapMean(differences, { groups }),
    wins: winRate(before, after, { groups }),
    signTest: signTest(
      byPrompt.map(() => 0),
      byPrompt,
    ),
  };
}

/**
 * Pairs of images with the same prompt, seed and number. Where a set has no seeds, the nth image of a prompt is paired with the nth.
 */
export function pairsOf(base: readonly ScoredImage[], own: readonly ScoredImage[]): ImagePairOf[] {
  const seeded = [...base, ...own].every(({ seed }) => seed !== undefined);
  const keyed = (images: readonly ScoredImage[]): Map<string, ScoredImage> => {
    const counts = new Map<string, number>();
    return new Map(
      images.map((image) => {
        const group = JSON.stringify([image.prompt, seeded ? image.seed : null]);
        const nth = counts.get(group) ?? 0;
        counts.set(group, nth + 1);
        return [`${group} ${(seeded ? image.image : undefined) ?? nth}`, image];
      }),
    );
  };
  const ofBase = keyed(base);
  return [...keyed(own)].flatMap(([key, image]) => {
    const like = ofBase.get(key);
    return like ? [{ base: like, own: image }] : [];
  });
}

/** 1 − cos of features of length 1, which rounding may put a little below 0. */
const distance = (a: readonly number[], b: readonly number[]): number =>
  Math.max(0, 1 - a.reduce((sum, value, i) => sum + value * (b[i] as number), 0));

function pairwise(images: readonly ScoredImage[]): number[] {
  return images.flatMap((a, i) =>
    images.slice(i + 1).flatMap((b) => (a.features && b.features ? [distance(a.features, b.features)] : [])),
  );
}
