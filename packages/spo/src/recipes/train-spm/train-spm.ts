// Trains a step-aware preference model on preference pairs. Source: algorithm 3; Liang et al. 2024, section 3.2.
import { loadTextToImage, StableDiffusion } from "@spo/diffusion";
import {
  AdamW,
  cat,
  clipGradNorm,
  type Device,
  type Generator,
  keep,
  noGrad,
  rand,
  randint,
  randn,
  resolveDevice,
  scope,
  type Tensor,
  tensor,
  warmupLinear,
} from "@spo/torch";
import { move, recolour } from "../../data/augmentation.js";
import {
  batchOf,
  openPairSet,
  type PairBatch,
  PairLoader,
  type PairSet,
  readRows,
} from "../../data/index.js";
import { labelTensors, pairAccuracy, spmLoss } from "../../losses/spm-loss.js";
import { generatorAt } from "../../randomness.js";
import { loadReward } from "../../rewards/index.js";
import { type ScoreProcessor, trainPixels } from "../../spm/preprocess.js";
import { type StepAwarePreferenceModel, saveSpm, startSpm } from "../../spm/spm.js";
import { WorkMeter } from "../../work.js";
import type { RecipeContext, RecipeEvent } from "../recipe.js";
import { MOST_SKIPPED, notFinite } from "../training/not-finite.js";
import { trainingSide } from "../training/training-side.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import { relabelPairs } from "./relabel-pairs.js";
import {
  drawTimesteps,
  examplesOf,
  fromBank,
  joinDraws,
  onCpu,
  PairNoiser,
  type SeenPairs,
} from "./seen-pairs.js";
import type { TrainSpmConfig } from "./train-spm-config.js";

/** Held-out pairs that are noised together when `microBatch` does not say. */
const EVAL_CHUNK = 32;
/** Noised held-out pairs stay in memory up to so many bytes; beyond, they are noised anew for each measurement. */
const HELD_BYTES = 1 << 29;

/**
 * Both images of a pair are noised alike to a random step and denoised once by the base; the model learns which of the two people prefer.
 *
 * Reads the pairs as a stream, so that the set may be of any size: what stands at a position, and all that is drawn for it, depends on the
 * seed and the position alone. A bank instead holds pairs that were drawn and noised once.
 *
 * Yields step events, and eval events with the accuracy by timestep on held-out pairs. Resumes from the run's newest checkpoint.
 */
export async function* trainSpm(
  config: TrainSpmConfig,
  { run, signal }: RecipeContext,
): AsyncGenerator<RecipeEvent> {
  const device = resolveDevice(config.device);
  const pipe = loadTextToImage(config.model, { device });
  const side = trainingSide(pipe, config.resolution);
  const { spm, processor } = startSpm(config.init, generatorAt(config.seed, "init"), { device });
  const meter = new WorkMeter();
  const labeller = config.relabel && {
    reward: await loadReward(config.relabel.by ?? `pickscore:${config.init}`, {
      tokenizer: pipe instanceof StableDiffusion ? pipe.tokenizer : pipe.parts.tokenizer,
      device,
    }),
    threshold: config.relabel.threshold,
  };
  const labelled = async (batch: PairBatch, counted?: WorkMeter): Promise<PairBatch> =>
    labeller ? relabelPairs(batch, labeller, counted) : batch;
  const noiser = new PairNoiser(pipe, { side, guidanceScale: config.guidanceScale });
  const reading = { side, kernel: "bicubic", aheadBytes: config.readAhead << 20 } as const;
  const { allowOutside } = config;
  const set = await openPairSet(config.pairs, { allowOutside, split: config.split });
  const loader = new PairLoader(set, { seed: config.seed, ...reading });
  const heldSet =
    config.evalPairs > 0
      ? await openPairSet(config.pairs, { allowOutside, split: config.evalSplit, limit: config.evalPairs })
      : undefined;

  try {
    spm.requiresGrad_();
    spm.vision_model.gradientCheckpointing = config.gradientCheckpointing;
    const parameters = spm.parameters();
    const { lr, ...rest } = config.optimizer;
    const optimizer = new AdamW(parameters, { lr, ...rest });
    const state = { modules: { spm }, optimizer };
    const microBatch = Math.min(config.batch, config.microBatch ?? config.batch);
    let skipped = 0;
    let measured: Record<string, number> | undefined;
    // Before the bank: what it takes is told of after the cut that going on makes in the log.
    let step = run.resume((folder) => restoreTrainingState(folder, state));
    const bank: SeenPairs[] = [];
    for await (const seen of drawBank()) {
      bank.push(seen);
      yield* run.phase("noised pairs", Math.min(bank.length * config.batch, config.bank), config.bank);
      signal.throwIfAborted();
    }
    const held = heldSet && holdsAll(heldSet) ? await all(noiseHeld(heldSet)) : undefined;
    if (step > 0)
      meter.take(); // what was computed before the first step has been counted when the run began
    else if (heldSet) yield* run.eval(0, await evaluate(heldSet, held));
    for (; step < config.steps; step++) {
      const first = step * config.batch;
      const places = bank.length > 0 ? drawPlaces(bank, generatorAt(config.seed, "step", step)) : undefined;
      const examples = places ? examplesOf(bank, places) : loader.examples(first, config.batch);
      const metrics = { loss: 0, accuracy: 0, scale: 0, gradNorm: 0 };
      for (let start = 0; start < config.batch; start += microBatch) {
        const count = Math.min(microBatch, config.batch - start);
        const read = places ? undefined : await labelled(await loader.read(first + start, count), meter);
        scope(() => {
          const seen = read
            ? see(read, first + start)
            : fromBank(bank, (places as number[]).slice(start, start + count));
          const [score0, score1] = score(seen, start === 0 ? [step] : [step, start]);
          const { loss } = spmLoss({
            score0,
            score1,
            ...labelTensors(seen.label0, seen.examples, device),
            inverseSum: tensor([...examples], { device })
              .reciprocal()
              .sum(),
          });
          loss.backward();
          // In one piece: each reading waits for the device.
          const figures = cat([loss.reshape([1]), score0, score1]).toNumbers();
          const [of0, of1] = [figures.slice(1, 1 + count), figures.slice(1 + count)];
          metrics.loss += figures[0] as number;
          metrics.accuracy += (count / config.batch) * pairAccuracy(of0, of1, seen.label0);
        });
      }
      metrics.scale = scope(() => spm.logit_scale.exp().item());
      metrics.gradNorm = clipGradNorm(parameters, config.maxGradNorm);
      if (Number.isFinite(metrics.loss) && Number.isFinite(metrics.gradNorm)) {
        optimizer.lr = lr * warmupLinear(step, { warmup: config.warmup, total: config.steps });
        optimizer.step();
        skipped = 0;
      } else if (++skipped === MOST_SKIPPED) {
        throw notFinite(skipped, `step ${step + 1}`);
      } else {
        const { loss, gradNorm } = metrics;
        yield* run.warn(
          `step ${step + 1}: loss ${loss}, gradient norm ${gradNorm}: update skipped, ${skipped} in a row`,
        );
      }
      optimizer.zeroGrad();
      yield* run.step(step + 1, config.steps, metrics, meter.take());
      if (heldSet && run.isDue(step + 1, config.evalEvery, config.steps)) {
        measured = await evaluate(heldSet, held);
        yield* run.eval(step + 1, measured);
      }
      // After a step that was not finite the weights are in doubt: the checkpoints before it are kept.
      if (skipped === 0 && (run.isDue(step + 1, config.saveEvery, config.steps) || signal.aborted)) {
        yield* run.save(step + 1, (folder) => saveTrainingState(folder, state));
      }
      signal.throwIfAborted();
    }
    if (skipped > 0) throw notFinite(skipped, `step ${config.steps}`);
    saveSpm(config.output, spm, processor);
    // Measured after the last step, unless that was another process's.
    yield* run.done({
      output: config.output,
      ...(heldSet ? (measured ?? (await evaluate(heldSet, held))) : {}),
    });
  } finally {
    await loader.close();
    await set.close();
    await heldSet?.close();
    labeller?.reward.dispose?.();
  }

  /** Pairs from a stream, at timesteps and with noise of their positions. */
  function see(batch: PairBatch, first: number): SeenPairs {
    return scope(() => {
      const draws = batch.prompts.map((_, i) => {
        const generator = generatorAt(config.seed, "pair", first + i);
        return noiser.draw(1, drawTimesteps(1, config, generator), generator);
      });
      return noiser.see(batch, joinDraws(draws), meter);
    });
  }

  /** Scores of both sides with the graph, [n] each. `place`: of the draws that are made for it. */
  function score(seen: SeenPairs, place: readonly number[]): [Tensor, Tensor] {
    const [pixels0, pixels1] = noGrad(() =>
      augmentBoth(seen, config, place, device).map((x) => trainPixels(x, processor)),
    ) as [Tensor, Tensor];
    const timesteps = seen.timesteps.to({ device });
    const images = spm.imageFeatures(cat([pixels0, pixels1]), cat([timesteps, timesteps]));
    const prompts = [...new Set(seen.prompts)];
    const features = spm.textFeatures(pipe.tokenize(prompts)[0] as Tensor);
    meter.count("judgeImage", 2 * seen.prompts.length);
    meter.count("judgeBackward", 2 * seen.prompts.length);
    meter.count("judgeText", prompts.length);
    const text = features.indexSelect(
      0,
      tensor(
        seen.prompts.map((prompt) => prompts.indexOf(prompt)),
        { dtype: "int64", device },
      ),
    );
    return spm.scores(images, cat([text, text])).chunk(2) as [Tensor, Tensor];
  }

  function drawPlaces(from: readonly SeenPairs[], generator: Generator): number[] {
    const size = from.length * config.batch;
    return scope(() => randint(0, size, [config.batch], { generator }).toNumbers());
  }

  /** Random pairs at random timesteps, noised in parts of one batch. */
  async function* drawBank(): AsyncGenerator<SeenPairs> {
    const parts = Array.from({ length: Math.ceil(config.bank / config.batch) }, (_, i) => {
      const generator = generatorAt(config.seed, "bank", i * config.batch);
      const rows = scope(() => randint(0, set.size, [config.batch], { generator }).toNumbers());
      return { generator, rows };
    });
    if (parts.length === 0) return;
    const pairs = await readRows(
      set,
      parts.flatMap(({ rows }) => rows),
      reading,
    );
    for (const { generator, rows } of parts) {
      const read = rows.map((row) => pairs.get(row) as NonNullable<ReturnType<typeof pairs.get>>);
      const batch = await labelled(batchOf(read, side), meter);
      const timesteps = drawTimesteps(rows.length, config, generator);
      yield keep(
        scope(() => onCpu(noiser.see(batch, noiser.draw(rows.length, timesteps, generator), meter))),
      );
    }
  }

  /** Held-out pairs at every measured timestep, with the same noise each time. */
  async function* noiseHeld(from: PairSet): AsyncGenerator<{ t: number; seen: SeenPairs }> {
    const chunk = config.microBatch ?? EVAL_CHUNK;
    const unread = new PairLoader(from, { ...reading, seed: null });
    try {
      for (let start = 0; start < from.size; start += chunk) {
        const batch = await labelled(await unread.read(start, Math.min(chunk, from.size - start)));
        for (const t of config.evalTimesteps) {
          const n = batch.prompts.length;
          const generator = generatorAt(config.seed, "eval", t, start);
          const timesteps = Array<number>(n).fill(t);
          // Not counted: measuring is no part of the training's work.
          yield { t, seen: keep(scope(() => noiser.see(batch, noiser.draw(n, timesteps, generator)))) };
        }
      }
    } finally {
      await unread.close();
    }
  }

  function holdsAll({ size }: PairSet): boolean {
    return size * config.evalTimesteps.length * 6 * side * side <= HELD_BYTES;
  }

  /** Share of held-out pairs whose preferred image has the higher score, by timestep. */
  async function evaluate(
    from: PairSet,
    seen: readonly { t: number; seen: SeenPairs }[] | undefined,
  ): Promise<Record<string, number>> {
    const found = new Map<number, { score0: number[]; score1: number[]; label0: number[] }>();
    for await (const { t, seen: pairs } of seen ?? noiseHeld(from)) {
      const of = found.get(t) ?? { score0: [], score1: [], label0: [] };
      const [score0, score1] = scope(() =>
        plainScores(spm, processor, pairs, pipe.tokenize(pairs.prompts)[0] as Tensor),
      );
      of.score0.push(...score0);
      of.score1.push(...score1);
      of.label0.push(...pairs.label0);
      found.set(t, of);
      if (!seen) for (const tensor of [pairs.image0, pairs.image1, pairs.timesteps]) tensor.dispose();
    }
    return Object.fromEntries(
      config.evalTimesteps.map((t) => {
        const { score0, score1, label0 } = found.get(t) as NonNullable<ReturnType<typeof found.get>>;
        // A tie counts one half; those that relabelling made are left out. Source: algorithm 3c, evaluation.
        const counted = <T>(values: readonly T[]): T[] =>
          values.filter((_, i) => !labeller || label0[i] !== 0.5);
        return [`accuracy/t=${t}`, pairAccuracy(counted(score0), counted(score1), counted(label0))];
      }),
    );
  }
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

const fromBytes = (bytes: Tensor, device: Device): Tensor =>
  scope(() => bytes.to({ device }).to({ dtype: "float32" }).div(127.5).sub(1));

/**
 * The same random place and size for both images of a pair; colours and noise of their own, so that neither being paler nor being
 * stronger is a reason to be preferred.
 */
function augmentBoth(
  { image0, image1 }: SeenPairs,
  { augmentation, pixelNoise, seed }: TrainSpmConfig,
  place: readonly number[],
  device: Device,
): Tensor[] {
  return scope(() => {
    const generator = generatorAt(seed, "noise", ...place);
    return [image0, image1].map((bytes, side) => {
      let x = fromBytes(bytes, device);
      if (augmentation) {
        x = move(x, generatorAt(seed, "move", ...place), augmentation); // alike for either side
        x = recolour(x, generatorAt(seed, "recolour", ...place, side), augmentation.colour);
      }
      if (pixelNoise === 0) return x;
      const spread = rand([x.shape[0] as number, 1, 1, 1], { generator, device }).mul(pixelNoise);
      return x.add(randn(x.shape, { generator, device }).mul(spread));
    });
  });
}

/** Scores of both sides of every pair, of the images as they are. ids: one row a pair. */
function plainScores(
  spm: StepAwarePreferenceModel,
  processor: ScoreProcessor,
  seen: SeenPairs,
  ids: Tensor,
): [number[], number[]] {
  return noGrad(() =>
    scope(() => {
      const { device } = spm.logit_scale;
      const timesteps = seen.timesteps.to({ device });
      const text = spm.textFeatures(ids);
      const score = (bytes: Tensor): number[] =>
        spm
          .scores(spm.imageFeatures(trainPixels(fromBytes(bytes, device), processor), timesteps), text)
          .toNumbers();
      return [score(seen.image0), score(seen.image1)] as [number[], number[]];
    }),
  );
}
