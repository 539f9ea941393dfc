// Makes preference pairs for the embedded default: AI feedback on the base's samples, and real artwork over generated or damaged.
import { StableDiffusion } from "@spo/diffusion";
import { cat, type Generator, keep, noGrad, randint, randperm, scope, type Tensor, tensor } from "@spo/torch";
import sharp from "sharp";
import { readArtwork } from "../../data/artwork.js";
import { degrade, fade } from "../../data/augmentation.js";
import { rowsOfHalf } from "../../data/halves.js";
import { type PairRow, writePairs } from "../../data/pairs.js";
import { rgbFromPixels } from "../../data/pixels.js";
import { readPrompts } from "../../data/prompts.js";
import { redrawAll } from "../../data/redraw.js";
import { quantised, roundTrip, sampleImages } from "../../evaluation/samples.js";
import { generatorAt } from "../../randomness.js";
import { loadArtworkJudge } from "../../rewards/artwork-judge.js";
import type { RecipeContext, RecipeEvent } from "../recipe.js";
import type { MakePairsConfig } from "./make-pairs-config.js";

interface Pair {
  caption: string;
  win: Tensor;
  lose: Tensor;
  kind: string;
}

/** Every image has gone through the VAE and 8 bits, so that neither leaves a trace that tells the sides apart. */
export async function* makePairs(
  config: MakePairsConfig,
  { run, signal }: RecipeContext,
): AsyncGenerator<RecipeEvent> {
  const artwork = await readArtwork(config.data);
  const pipe = StableDiffusion.load(config.model);
  const labeller = loadArtworkJudge(config.labeller);
  const rows = rowsOfHalf(artwork, 0);
  const real = keep(
    scope(() => cat(roundTrip(pipe, artwork.pixels.indexSelect(0, tensor(rows, { dtype: "int64" }))))),
  );
  const captionOf = rows.map((row) => artwork.captions[row] as string);
  const held = new Set(readPrompts(config.testPrompts));
  const trained = new Set(readPrompts(config.trainPrompts));

  const words = new Set([...trained, ...held]);
  const written: PairRow[] = [];
  for (const [split, prompts, perPrompt, counts] of [
    ["train", [...trained], config.samplesPerPrompt, config.train],
    ["test", [...held], config.testSamplesPerPrompt, config.test],
  ] as const) {
    const generator = generatorAt(config.seed, split);
    const chunks: Tensor[] = [];
    const shows: number[] = [];
    const settings = {
      seed: config.seed + (split === "test" ? 1 : 0),
      perPrompt,
      steps: 20,
      guidanceScale: config.guidanceScale,
      eta: 1,
    };
    for (const chunk of sampleImages(pipe, prompts, settings)) {
      chunks.push(chunk.images);
      shows.push(...chunk.prompts);
      yield* run.phase(`samples for ${split}`, shows.length, prompts.length * perPrompt);
      signal.throwIfAborted();
    }
    const samples = keep(cat(chunks));
    // Concepts that the base does not know may be shown damaged while training; held-out ones only when measuring.
    const others = captionOf.flatMap((caption, i) => ((split === "test") === held.has(caption) ? [i] : []));
    const redrawn: Pair[] = [];
    for (let pass = 0; redrawn.length < counts.redrawn && others.length > 0; pass++) {
      const place = (i: number): number => others[(i + pass) % others.length] as number; // another strength in each pass
      const order = others.map((_, i) => place(i));
      const pixels = scope(() => real.indexSelect(0, tensor(order, { dtype: "int64" })));
      const captions = order.map((row) => captionOf[row] as string);
      const random = generatorAt(config.seed, split, "redraw", pass);
      const drawing = { steps: 20, guidanceScale: config.guidanceScale };
      for (const { rows: drawn, images } of redrawAll(pipe, pixels, captions, words, drawing, random)) {
        for (const [i, at] of drawn.entries()) {
          const caption = captions[at] as string;
          redrawn.push({ caption, win: rowOf(pixels, at), lose: rowOf(images, i), kind: "redrawn" });
        }
        images.dispose();
        yield* run.phase(`redrawings for ${split}`, Math.min(redrawn.length, counts.redrawn), counts.redrawn);
        signal.throwIfAborted();
      }
      pixels.dispose();
    }
    const kept = takeSome(redrawn, counts.redrawn, generator);
    const pairs = noGrad(() => [
      ...kept,
      ...feedbackPairs(
        {
          samples,
          captions: shows.map((p) => prompts[p] as string),
          labeller,
          feedback: counts.feedback,
          gap: config.gap,
        },
        generator,
      ),
      ...realPairs(
        { samples, captions: shows.map((p) => prompts[p] as string), real, captionOf },
        counts.real,
        generator,
      ),
      ...damagedPairs({ real, captionOf, rows: others }, counts.damaged, generator),
      ...fadedPairs({ real, captionOf, rows: others }, counts.faded, generator),
      ...mismatchedPairs({ real, captionOf, rows: others }, counts.mismatched, generator),
    ]);
    const examples = new Map<string, number>();
    for (const { caption } of pairs) examples.set(caption, (examples.get(caption) ?? 0) + 1);
    const order = randperm(pairs.length, { generator }).toNumbers();
    const sides = randint(0, 2, [pairs.length], { generator }).toNumbers();
    for (const [i, place] of order.entries()) {
      const { caption, win, lose, kind } = pairs[place] as Pair;
      const [a, b] = [await encode(win, config.quality), await encode(lose, config.quality)];
      const first = sides[i] === 0;
      written.push({
        caption,
        jpg_0: first ? a : b,
        jpg_1: first ? b : a,
        label_0: first ? 1 : 0,
        label_1: first ? 0 : 1,
        num_example_per_prompt: examples.get(caption) as number,
        split,
        kind,
      });
      win.dispose();
      lose.dispose();
    }
    for (const tensor of [samples, ...chunks]) tensor.dispose();
  }
  writePairs(config.output, written);
  yield* run.done({ output: config.output, pairs: written.length });
}

/** A random `count` of the pairs; the rest is freed. */
function takeSome(pairs: readonly Pair[], count: number, generator: Generator): Pair[] {
  const order = pairs.length === 0 ? [] : randperm(pairs.length, { generator }).toNumbers();
  const shuffled = order.map((place) => pairs[place] as Pair);
  for (const { win, lose } of shuffled.slice(count)) {
    win.dispose();
    lose.dispose();
  }
  return shuffled.slice(0, count);
}

async function encode(image: Tensor, quality: number): Promise<Uint8Array> {
  const { data, width, height } = rgbFromPixels(image);
  return new Uint8Array(
    await sharp(data, { raw: { width, height, channels: 3 } })
      .webp({ quality, smartSubsample: true })
      .toBuffer(),
  );
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

/**
 * Pairs of samples of one concept that the labeller tells apart. Of all such pairs those of like colours are taken, and in such an order
 * that winners and losers have the same mean colour: else the model would learn a cast.
 */
function feedbackPairs(
  {
    samples,
    captions,
    labeller,
    feedback,
    gap,
  }: {
    samples: Tensor;
    captions: readonly string[];
    labeller: ReturnType<typeof loadArtworkJudge>;
    feedback: number;
    gap: number;
  },
  generator: Generator,
): Pair[] {
  const { logProb, realism } = verdicts(labeller, samples, captions);
  const [byConcept, byRealism] = [standardised(logProb.map((p) => Math.max(p, -6))), standardised(realism)];
  const score = byConcept.map((z, i) => z + (byRealism[i] as number));
  const colour = scope(() => samples.split(64).flatMap(colours));
  const differ = (a: number, b: number): number[] =>
    (colour[a] as number[]).map((v, i) => v - (colour[b]?.[i] as number));
  let found: { win: number; lose: number; distance: number }[] = [];
  for (const [a, caption] of captions.entries()) {
    for (const [b, other] of captions.entries()) {
      if (caption !== other || (score[a] as number) - (score[b] as number) <= gap) continue;
      found.push({ win: a, lose: b, distance: Math.hypot(...differ(a, b)) });
    }
  }
  found.sort((a, b) => a.distance - b.distance);
  found = found.slice(0, Math.max(feedback, Math.ceil(found.length / 2)));
  const taken: Pair[] = [];
  const uses = new Map<string, number>();
  const shift = [0, 0, 0, 0];
  const order = found.length === 0 ? [] : randperm(found.length, { generator }).toNumbers();
  const done = new Set<number>();
  for (const strict of [true, false]) {
    for (const place of order) {
      if (taken.length >= feedback || done.has(place)) continue;
      const { win, lose } = found[place] as { win: number; lose: number };
      const keys = [`w${win}`, `l${lose}`];
      if (keys.some((key) => (uses.get(key) ?? 0) >= 6)) continue;
      const moved = differ(win, lose).map((v, i) => v + (shift[i] as number));
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

const rowOf = (images: Tensor, row: number): Tensor => keep(images.narrow(0, row, 1).clone());

/** log p of the caption's concept and the realism logit, image by image. */
export function verdicts(
  judge: ReturnType<typeof loadArtworkJudge>,
  images: Tensor,
  captions: readonly string[],
): { logProb: number[]; realism: number[] } {
  const logProb: number[] = [];
  const realism: number[] = [];
  scope(() => {
    for (const part of images.split(64)) {
      realism.push(...judge.realism(part).toNumbers());
      const width = judge.config.captions.length;
      const all = scope(() => judge.logProbs(judge.features(part))).toNumbers();
      for (let i = 0; i < (part.shape[0] as number); i++) {
        logProb.push(
          all[i * width + judge.config.captions.indexOf(captions[logProb.length] as string)] as number,
        );
      }
    }
  });
  return { logProb, realism };
}

function realPairs(
  {
    samples,
    captions,
    real,
    captionOf,
  }: { samples: Tensor; captions: readonly string[]; real: Tensor; captionOf: readonly string[] },
  count: number,
  generator: Generator,
): Pair[] {
  return draws(captions.length, count, generator).flatMap((sample, i) => {
    const caption = captions[sample] as string;
    const rows = captionOf.flatMap((c, row) => (c === caption ? [row] : []));
    if (rows.length === 0) return [];
    const win = scope(() =>
      keep(maybeMirrored(real.narrow(0, rows[i % rows.length] as number, 1), i % 2 === 1)),
    );
    return [{ caption, win, lose: rowOf(samples, sample), kind: "real" }];
  });
}

const maybeMirrored = (image: Tensor, mirrored: boolean): Tensor =>
  mirrored ? image.flip([3]) : image.clone();
const draws = (high: number, count: number, generator: Generator): number[] =>
  count === 0 ? [] : randint(0, high, [count], { generator }).toNumbers();

function damagedPairs(
  { real, captionOf, rows }: { real: Tensor; captionOf: readonly string[]; rows: readonly number[] },
  count: number,
  generator: Generator,
): Pair[] {
  const others = draws(rows.length, count, generator);
  return draws(rows.length, count, generator).map((place, i) => {
    const row = rows[place] as number;
    const lose = scope(() =>
      keep(
        quantised(
          degrade(real.narrow(0, row, 1), real.narrow(0, rows[others[i] as number] as number, 1), generator),
        ),
      ),
    );
    return { caption: captionOf[row] as string, win: rowOf(real, row), lose, kind: "damaged" };
  });
}

function fadedPairs(
  { real, captionOf, rows }: { real: Tensor; captionOf: readonly string[]; rows: readonly number[] },
  count: number,
  generator: Generator,
): Pair[] {
  return draws(rows.length, count, generator).map((place) => {
    const row = rows[place] as number;
    const lose = scope(() => keep(quantised(fade(real.narrow(0, row, 1), generator))));
    return { caption: captionOf[row] as string, win: rowOf(real, row), lose, kind: "faded" };
  });
}

function mismatchedPairs(
  { real, captionOf, rows }: { real: Tensor; captionOf: readonly string[]; rows: readonly number[] },
  count: number,
  generator: Generator,
): Pair[] {
  const colour = scope(() => real.split(64).flatMap(colours));
  return draws(rows.length, count, generator).map((place) => {
    const row = rows[place] as number;
    const distance = (other: number): number =>
      Math.hypot(...(colour[row] as number[]).map((v, i) => v - (colour[other]?.[i] as number)));
    const others = draws(rows.length, 30, generator)
      .map((other) => rows[other] as number)
      .filter((other) => captionOf[other] !== captionOf[row])
      .sort((a, b) => distance(a) - distance(b));
    return {
      caption: captionOf[row] as string,
      win: rowOf(real, row),
      lose: rowOf(real, others[0] as number),
      kind: "mismatched",
    };
  });
}
