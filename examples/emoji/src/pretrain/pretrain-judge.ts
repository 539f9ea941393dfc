// Trains a small network to tell concepts apart and real artwork from samples of the base: once to label preference pairs, once, on
// other renderings, other samples and another seed, to judge the result.

import { readPrompts } from "@spo/data";
import { augment, degrade } from "@spo/data/pixels";
import { StableDiffusion } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import { roundTrip, sampleImages } from "@spo/scorers";
import {
  AdamW,
  binaryCrossEntropyWithLogits,
  cat,
  type Generator,
  generatorAt,
  initialize,
  keep,
  noGrad,
  randint,
  randperm,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { openContext, type RecipeEvent, type RecipeOptions, Update } from "spo/recipes";
import { noArtwork, readArtwork } from "../data/artwork.js";
import { rowsOfHalf } from "../data/halves.js";
import { redrawAll } from "../data/redraw.js";
import { ArtworkJudge, saveArtworkJudge } from "../judge/artwork-judge.js";
import type { PretrainJudgeSettings } from "../settings.gen.js";
import { PretrainJudgeConfig } from "./pretrain-judge-config.js";
import { pretrainingSteps } from "./pretrain-loop.js";

/** Yields a step event each step; resumes from the run's newest checkpoint. */
export async function* pretrainJudge(
  settings: PretrainJudgeSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const config = checkConfig(PretrainJudgeConfig, settings);
  using context = openContext({ kind: "pretrain judge", schema: PretrainJudgeConfig }, config, options);
  const { run, signal, device } = context;
  const artwork = await readArtwork(config.data, {
    leaveOut: config.leaveOut.flatMap((path) => readPrompts(path)),
  });
  const pipe = StableDiffusion.load(config.model, { device });
  const rows = tensor(rowsOfHalf(artwork, config.half), { dtype: "int64" });
  const concepts = [...new Set(artwork.concepts)];
  const captions = concepts.map((concept) => artwork.captions[artwork.concepts.indexOf(concept)] as string);
  const conceptOf = tensor(
    artwork.concepts.map((concept) => concepts.indexOf(concept)),
    { dtype: "int64" },
  );
  const real = keep(scope(() => artwork.pixels.indexSelect(0, rows).to({ device })));
  const labels = keep(scope(() => conceptOf.indexSelect(0, rows).to({ device })));
  const decoded = keep(scope(() => cat(roundTrip(pipe, real))));

  const prompts = readPrompts(config.prompts);
  // It will be asked about the prompts' concepts, so half of its training images show them.
  const asked = keep(
    tensor(
      rows.toNumbers().flatMap((row, i) => (prompts.includes(artwork.captions[row] as string) ? [i] : [])),
      { dtype: "int64", device },
    ),
  );
  if (asked.numel === 0) throw noArtwork(config.data);
  const samples: Tensor[] = [];
  const sampling = {
    seed: config.seed,
    perPrompt: config.samplesPerPrompt,
    steps: 20,
    guidanceScale: config.guidanceScale,
    eta: 1,
  };
  for (const { images } of sampleImages(pipe, prompts, sampling)) {
    samples.push(images);
    yield* run.phase(
      "samples of the base",
      samples.length,
      Math.ceil((prompts.length * config.samplesPerPrompt) / 16),
    );
    signal.throwIfAborted();
  }
  const generated = keep(cat(samples));
  for (const chunk of samples) chunk.dispose();
  const redrawings: Tensor[] = [];
  const captionsOfRows = rows.toNumbers().map((row) => artwork.captions[row] as string);
  const drawing = { steps: 20, guidanceScale: config.guidanceScale };
  const words = new Set(prompts);
  for (const { images, done } of redrawAll(
    pipe,
    real,
    captionsOfRows,
    words,
    drawing,
    generatorAt(config.seed, "redraw"),
  )) {
    redrawings.push(images);
    yield* run.phase("redrawings by the base", done, rows.numel);
    signal.throwIfAborted();
  }
  const redrawn = keep(cat(redrawings));
  for (const chunk of redrawings) chunk.dispose();

  const judge = new ArtworkJudge({
    model_type: "artwork_judge",
    concepts,
    captions,
    widths: config.widths,
    patchWidths: config.patchWidths,
  });
  initialize(judge, generatorAt(config.seed, "initialize"));
  judge.to({ device }).requiresGrad_();
  const parameters = judge.parameters();
  const optimizer = new AdamW(parameters, { lr: config.lr, weightDecay: 0.02 });
  const state = { modules: { judge }, optimizer };

  const update = new Update({ parameters, optimizer, maxGradNorm: null });
  yield* pretrainingSteps(context, {
    config,
    state,
    update,
    warmup: Math.round(0.03 * config.steps),
    backward: (step) => {
      const generator = generatorAt(config.seed, "step", step);
      const batch = noGrad(() =>
        judgeBatch({ real, decoded, generated, redrawn, labels, asked }, config, generator),
      );
      const known = batch.labels.shape[0] as number;
      const logProbs = judge.logProbs(judge.features(batch.images.narrow(0, 0, known)), generator);
      const conceptLoss = smoothedCrossEntropy(logProbs, batch.labels, 0.05);
      const judged = judge.realism(batch.images.narrow(0, known, batch.isReal.numel));
      const realismLoss = binaryCrossEntropyWithLogits(judged, batch.isReal.mul(0.9).add(0.05));
      conceptLoss.add(realismLoss).backward();
      const realismAccuracy = judged.gt(0).eq(batch.isReal.gt(0.5)).to({ dtype: "float32" }).mean().item();
      const losses = { conceptLoss: conceptLoss.item(), realismLoss: realismLoss.item() };
      return { loss: losses.conceptLoss + losses.realismLoss, ...losses, realismAccuracy };
    },
  });
  saveArtworkJudge(config.output, judge);
  yield* run.done({ output: config.output });
}

/** One batch: real images with their concepts, then images that are real (half), redrawn, generated or damaged. */
function judgeBatch(
  {
    real,
    decoded,
    generated,
    redrawn,
    labels,
    asked,
  }: Record<"real" | "decoded" | "generated" | "redrawn" | "labels" | "asked", Tensor>,
  { batch, colour }: { batch: number; colour: number },
  generator: Generator,
): { images: Tensor; labels: Tensor; isReal: Tensor } {
  return scope(() => {
    const count = real.shape[0] as number;
    const half = Math.round(batch / 2);
    const [damagedCount, generatedCount] = [Math.round(batch / 8), Math.round(batch / 8)];
    const redrawnCount = half - damagedCount - generatedCount;
    const { device } = real;
    const draw = (high: number, n: number): Tensor => randint(0, high, [n], { generator }).to({ device });
    const known = cat([asked.indexSelect(0, draw(asked.numel, half)), draw(count, batch - half)]);
    const mixed = randperm(batch, { generator }).to({ device });
    const shuffled = known.indexSelect(0, mixed);
    // Most go through the VAE, so that its traces do not show which images are real; some stay as they are.
    const crisp = Math.round(0.3 * batch);
    const first = cat([
      real.indexSelect(0, shuffled.narrow(0, 0, crisp)),
      decoded.indexSelect(0, shuffled.narrow(0, crisp, batch - crisp)),
    ]);
    // As many of the prompts' concepts as among the generated images: the concept must not show which are real.
    const shown = decoded.indexSelect(
      0,
      cat([asked.indexSelect(0, draw(asked.numel, generatedCount)), draw(count, half - generatedCount)]),
    );
    const again = redrawn.indexSelect(0, draw(count, redrawnCount));
    const damaged = degrade(
      decoded.indexSelect(0, draw(count, damagedCount)),
      decoded.indexSelect(0, draw(count, damagedCount)),
      generator,
    );
    const sampled = generated.indexSelect(0, draw(generated.shape[0] as number, generatedCount));
    const isReal = tensor(
      Array.from({ length: 2 * half }, (_, i) => (i < half ? 1 : 0)),
      { device },
    );
    return {
      images: cat([
        augment(first, generator, { colour }),
        // Without resampling, which would blur the difference between drawn and real.
        augment(cat([shown, again, sampled, damaged]), generator, { colour, scale: 0, shift: 0 }),
      ]),
      labels: labels.indexSelect(0, shuffled),
      isReal,
    };
  });
}

/** Cross entropy with a share of the target spread over all classes. logProbs [n, c], labels int64 [n]. */
function smoothedCrossEntropy(logProbs: Tensor, labels: Tensor, smoothing: number): Tensor {
  return scope(() => {
    const right = logProbs.gather(1, labels.unsqueeze(1)).mean();
    return right.mul(smoothing - 1).sub(logProbs.mean().mul(smoothing));
  });
}
