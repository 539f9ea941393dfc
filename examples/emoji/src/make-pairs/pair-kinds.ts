// The kinds of preference pairs: which image is better, and what it is better than.

import { degrade, fade, quantised, saturate, sharpen, turnHue } from "@spo/data/pixels";
import { requireFiniteScores } from "@spo/scorers";
import { cat, type Generator, keep, rand, randint, randperm, scope, type Tensor } from "@spo/torch";
import type { loadArtworkJudge } from "../judge/artwork-judge.js";

/** win and lose: pixels [1, 3, h, w] in [-1, 1], of no scope. */
export interface Pair {
  caption: string;
  win: Tensor;
  lose: Tensor;
  kind: string;
  /** Whether neither is better. */
  isTie?: boolean;
}

/** Images of a model, pixels [n, 3, h, w], and what each was to show. */
interface Samples {
  samples: Tensor;
  captions: readonly string[];
}

/** Real artwork, pixels [n, 3, h, w], and what each row shows. */
interface Artwork {
  real: Tensor;
  captionOf: readonly string[];
}

/** rows: those that pairs are made of. */
interface ChosenArtwork extends Artwork {
  rows: readonly number[];
}

type ArtworkJudge = ReturnType<typeof loadArtworkJudge>;

/**
 * Pairs of samples of one concept that the labeller tells apart. Of all such pairs those of like colours are taken, and in such an order
 * that winners and losers have the same mean colour: else the model would learn a cast. gap: least difference of their scores, in standard
 * deviations.
 */
export function feedbackPairs(
  {
    samples,
    captions,
    labeller,
    gap,
  }: Samples & {
    labeller: ArtworkJudge;
    gap: number;
  },
  count: number,
  generator: Generator,
): Pair[] {
  if (count === 0) return []; // a labeller need not know what it does not label
  const { logProb, realism } = verdicts(labeller, samples, captions);
  const [byConcept, byRealism] = [standardised(logProb.map((p) => Math.max(p, -6))), standardised(realism)];
  const score = byConcept.map((z, i) => z + (byRealism[i] as number));
  const colour = scope(() => samples.split(64).flatMap(colours));
  let found: { win: number; lose: number; distance: number }[] = [];
  for (const [a, caption] of captions.entries()) {
    for (const [b, other] of captions.entries()) {
      if (caption !== other || (score[a] as number) - (score[b] as number) <= gap) continue;
      found.push({ win: a, lose: b, distance: Math.hypot(...differences(colour, a, b)) });
    }
  }
  found.sort((a, b) => a.distance - b.distance);
  found = found.slice(0, Math.max(count, Math.ceil(found.length / 2)));
  const taken: Pair[] = [];
  const uses = new Map<string, number>();
  const shift = [0, 0, 0, 0];
  const order = found.length === 0 ? [] : randperm(found.length, { generator }).toNumbers();
  const done = new Set<number>();
  for (const strict of [true, false]) {
    for (const place of order) {
      if (taken.length >= count || done.has(place)) continue;
      const { win, lose } = found[place] as { win: number; lose: number };
      const keys = [`w${win}`, `l${lose}`];
      if (keys.some((key) => (uses.get(key) ?? 0) >= 6)) continue;
      const moved = differences(colour, win, lose).map((v, i) => v + (shift[i] as number));
      if (strict && taken.length > 20 && Math.hypot(...moved) > Math.hypot(...shift)) continue;
      for (const [i, v] of moved.entries()) shift[i] = v;
      for (const key of keys) uses.set(key, (uses.get(key) ?? 0) + 1);
      done.add(place);
      taken.push({
        caption: captions[win] as string,
        win: rowOf(samples, win),
        lose: rowOf(samples, lose),
        kind: "feedback",
      });
    }
  }
  return taken;
}

/** Real artwork, half of it mirrored, over a sample of the same concept. Fewer than `count` where concepts have no artwork. */
export function realPairs(
  { samples, captions, real, captionOf }: Samples & Artwork,
  count: number,
  generator: Generator,
): Pair[] {
  return draws(captions.length, count, generator).flatMap((sample, i) => {
    const caption = captions[sample] as string;
    const rows = captionOf.flatMap((c, row) => (c === caption ? [row] : []));
    if (rows.length === 0) return [];
    const win = rowOf(real, rows[i % rows.length] as number, { mirrored: i % 2 === 1 });
    return [{ caption, win, lose: rowOf(samples, sample), kind: "real" }];
  });
}

/** Real artwork over the same, damaged with parts of another. */
export function damagedPairs(artwork: ChosenArtwork, count: number, generator: Generator): Pair[] {
  const { real, rows } = artwork;
  const others = draws(rows.length, count, generator);
  return artworkPairs("damaged", artwork, count, generator, (row, i) => {
    const other = rows[others[i] as number] as number;
    return quantised(degrade(real.narrow(0, row, 1), real.narrow(0, other, 1), generator));
  });
}

/** Real artwork over the same, paler or gaudier. */
export function fadedPairs(artwork: ChosenArtwork, count: number, generator: Generator): Pair[] {
  return artworkPairs("faded", artwork, count, generator, (row) =>
    quantised(fade(artwork.real.narrow(0, row, 1), generator)),
  );
}

/** What is changed, each way in equal shares, so that no common push of all images is preferred. */
export const CHANGES = ["hue", "saturation", "sharpness"] as const;

/** Strengths between which one is drawn, one way and the other. */
const CHANGE = {
  hue: { of: turnHue, ways: [range(-1, -0.35), range(0.35, 1)] },
  saturation: { of: saturate, ways: [range(0.25, 0.65), range(1.5, 2.2)] },
  sharpness: { of: sharpen, ways: [range(-1, -0.5), range(0.8, 2)] },
};

/** Real artwork over the same with one thing changed: one way in every first, the other way in every second pair. */
export function changedPairs(
  kind: (typeof CHANGES)[number],
  artwork: ChosenArtwork,
  count: number,
  generator: Generator,
): Pair[] {
  const { of, ways } = CHANGE[kind];
  const places = count === 0 ? [] : scope(() => rand([count], { generator }).toNumbers());
  return artworkPairs(kind, artwork, count, generator, (row, i) => {
    const { low, high } = ways[i % 2] as (typeof ways)[number];
    return quantised(of(artwork.real.narrow(0, row, 1), low + (places[i] as number) * (high - low)));
  });
}

/** Real artwork over that of another concept: of some, the one whose colours are nearest. */
export function mismatchedPairs(artwork: ChosenArtwork, count: number, generator: Generator): Pair[] {
  const { real, captionOf, rows } = artwork;
  const colour = scope(() => real.split(64).flatMap(colours));
  return artworkPairs("mismatched", artwork, count, generator, (row) => {
    const distance = (other: number): number => Math.hypot(...differences(colour, row, other));
    const others = draws(rows.length, 30, generator)
      .map((other) => rows[other] as number)
      .filter((other) => captionOf[other] !== captionOf[row])
      .sort((a, b) => distance(a) - distance(b));
    return rowOf(real, others[0] as number);
  });
}

/** Two real artworks of one concept, mirrored by turns; of a concept that has one alone, itself and its mirror image. Neither is better. */
export function renderingPairs({ real, captionOf }: Artwork, count: number, generator: Generator): Pair[] {
  const [rows, others] = [0, 1].map(() => draws(captionOf.length, count, generator)) as [number[], number[]];
  return rows.map((row, i) => {
    const caption = captionOf[row] as string;
    const alike = captionOf.flatMap((c, other) => (c === caption && other !== row ? [other] : []));
    const other = alike[(others[i] as number) % alike.length] ?? row;
    const mirrored = i % 2 === 1;
    const win = rowOf(real, row, { mirrored });
    return {
      caption,
      win,
      lose: rowOf(real, other, { mirrored: !mirrored }),
      kind: "renderings",
      isTie: true,
    };
  });
}

/** Random real artworks, each over what `lose` makes for its row. */
function artworkPairs(
  kind: string,
  { real, captionOf, rows }: ChosenArtwork,
  count: number,
  generator: Generator,
  lose: (row: number, i: number) => Tensor,
): Pair[] {
  return draws(rows.length, count, generator).map((place, i) => {
    const row = rows[place] as number;
    const worse = scope(() => keep(lose(row, i)));
    return { caption: captionOf[row] as string, win: rowOf(real, row), lose: worse, kind };
  });
}

/** A copy of one image that no scope frees. */
export const rowOf = (images: Tensor, row: number, { mirrored = false } = {}): Tensor =>
  scope(() => {
    const image = images.narrow(0, row, 1);
    return keep(mirrored ? image.flip([3]) : image.clone());
  });

function range(low: number, high: number): { low: number; high: number } {
  return { low, high };
}

const draws = (high: number, count: number, generator: Generator): number[] =>
  count === 0 ? [] : randint(0, high, [count], { generator }).toNumbers();

/** log p of the caption's concept and the realism logit, image by image. */
function verdicts(
  judge: ArtworkJudge,
  images: Tensor,
  captions: readonly string[],
): { logProb: number[]; realism: number[] } {
  const logProb: number[] = [];
  const realism: number[] = [];
  scope(() => {
    for (const part of images.split(64)) {
      const judged = captions.slice(realism.length, realism.length + (part.shape[0] as number));
      const logits = judge.realism(part).toNumbers();
      requireFiniteScores("The labeller", logits, judged);
      realism.push(...logits);
      const width = judge.config.captions.length;
      const all = scope(() => judge.logProbs(judge.features(part))).toNumbers();
      for (let i = 0; i < (part.shape[0] as number); i++) {
        logProb.push(
          all[i * width + judge.config.captions.indexOf(captions[logProb.length] as string)] as number,
        );
      }
    }
  });
  requireFiniteScores("The labeller", logProb, captions);
  return { logProb, realism };
}

/** Colours of the drawn part: mean red, green and blue, and chroma. x [n, 3, h, w] → [n][4] */
function colours(x: Tensor): number[][] {
  return scope(() => {
    const drawn = x.amin([1]).lt(0.9).to({ dtype: "float32" }); // [n, h, w]
    const area = drawn.sum([1, 2]).clamp(50).unsqueeze(1);
    const mean = x.mul(drawn.unsqueeze(1)).sum([2, 3]).div(area);
    const chroma = x
      .amax([1])
      .sub(x.amin([1]))
      .mul(drawn)
      .sum([1, 2])
      .unsqueeze(1)
      .div(area);
    const flat = cat([mean, chroma], 1).toNumbers();
    return Array.from({ length: flat.length / 4 }, (_, i) => flat.slice(4 * i, 4 * i + 4));
  });
}

const standardised = (values: readonly number[]): number[] => {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  const spread = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
  return values.map((v) => (v - mean) / spread);
};

const differences = (colour: readonly (readonly number[])[], a: number, b: number): number[] =>
  (colour[a] as readonly number[]).map((v, i) => v - (colour[b]?.[i] as number));
