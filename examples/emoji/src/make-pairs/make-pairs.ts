// Makes preference pairs for the embedded default: AI feedback on the base's samples, and real artwork over generated or damaged.

import { type PairRow, readPrompts, writePairs } from "@spo/data";
import { rgbFromPixels } from "@spo/data/pixels";
import { StableDiffusion } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import { roundTrip, sampleImages } from "@spo/scorers";
import {
  cat,
  type Generator,
  generatorAt,
  keep,
  noGrad,
  randint,
  randperm,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import sharp from "sharp";
import { openContext, type RecipeEvent, type RecipeOptions } from "spo/recipes";
import { readArtwork } from "../data/artwork.js";
import { rowsOfHalf } from "../data/halves.js";
import { redrawAll } from "../data/redraw.js";
import { loadArtworkJudge } from "../judge/artwork-judge.js";
import type { DataPairsSettings } from "../settings.gen.js";
import { MakePairsConfig } from "./make-pairs-config.js";
import {
  CHANGES,
  changedPairs,
  damagedPairs,
  fadedPairs,
  feedbackPairs,
  mismatchedPairs,
  type Pair,
  realPairs,
  renderingPairs,
  rowOf,
} from "./pair-kinds.js";

/** Every image has gone through the VAE and 8 bits, so that neither leaves a trace by which the sides differ. */
export async function* makePairs(
  settings: DataPairsSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(MakePairsConfig, settings);
  using context = openContext({ kind: "data pairs", schema: MakePairsConfig }, config, options);
  const { run, signal } = context;
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
    // Concepts that the base does not know may be shown damaged in training; held-out ones only in measurements.
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
    const captions = shows.map((p) => prompts[p] as string);
    const artworks = { real, captionOf, rows: others };
    const pairs = noGrad(() => [
      ...kept,
      ...feedbackPairs({ samples, captions, labeller, gap: config.gap }, counts.feedback, generator),
      ...realPairs({ samples, captions, real, captionOf }, counts.real, generator),
      ...damagedPairs(artworks, counts.damaged, generator),
      ...fadedPairs(artworks, counts.faded, generator),
      ...CHANGES.flatMap((kind) => changedPairs(kind, artworks, counts[kind], generator)),
      ...mismatchedPairs(artworks, counts.mismatched, generator),
      ...renderingPairs({ real, captionOf }, counts.renderings, generator),
    ]);
    const examples = new Map<string, number>();
    for (const { caption } of pairs) examples.set(caption, (examples.get(caption) ?? 0) + 1);
    const order = randperm(pairs.length, { generator }).toNumbers();
    const sides = randint(0, 2, [pairs.length], { generator }).toNumbers();
    for (const [i, place] of order.entries()) {
      const { caption, win, lose, kind, isTie } = pairs[place] as Pair;
      const better = isTie ? 0.5 : 1;
      const [a, b] = [await encode(win, config.quality), await encode(lose, config.quality)];
      const first = sides[i] === 0;
      written.push({
        caption,
        jpg_0: first ? a : b,
        jpg_1: first ? b : a,
        label_0: first ? better : 1 - better,
        label_1: first ? 1 - better : better,
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
