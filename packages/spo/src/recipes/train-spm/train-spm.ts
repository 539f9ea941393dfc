// Trains a step-aware preference model on preference pairs. Source: algorithm 3; Liang et al. 2024, section 3.2.

import {
  batchOf,
  dataFacts,
  openPairSet,
  type PairBatch,
  PairLoader,
  type PairSet,
  readRows,
} from "@spo/data";
import { loadTextToImage } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { checkConfig } from "@spo/records/config";
import { trainPixels } from "@spo/scorers";
import {
  AdamW,
  cat,
  type Generator,
  generatorAt,
  keep,
  noGrad,
  randint,
  scope,
  type Tensor,
  tensor,
} from "@spo/torch";
import { loadReward } from "../../judges/load-reward.js";
import { inverseSumOf, labelTensors, pairAccuracy, spmLoss } from "../../objectives/spm-loss.js";
import { saveSpm, startSpm } from "../../spm/spm.js";
import {
  openContext,
  phaseTeller,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
} from "../recipe.js";
import type { TrainSpmSettings } from "../settings.gen.js";
import { doubtfulJudge, doubtfulSettings } from "../training/doubtful-settings.js";
import { checkpointIsDue, isDue, timesDueAfter } from "../training/due.js";
import { learningRateAt } from "../training/learning-rate.js";
import { microBatches } from "../training/micro-batches.js";
import { trainingSide } from "../training/training-side.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import { Update } from "../training/update.js";
import { AccuracyByTimestep } from "./accuracy-by-timestep.js";
import { saveAccuracy } from "./held-out-accuracy.js";
import { augmentBoth, plainScores } from "./pair-scores.js";
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
import { TrainSpmConfig } from "./train-spm-config.js";

/** Held-out pairs that are noised together when `microBatch` does not say. */
const EVAL_CHUNK = 32;
/** Noised held-out pairs stay in memory up to so many bytes; beyond, they are noised anew for each measurement. */
const HELD_BYTES = 1 << 29;

/**
 * Both images of a pair are noised alike to a random step and denoised once by the base; the model learns which of the two people prefer.
 *
 * Reads the pairs as a stream, so the set may be of any size. The pair at a position, and all that is drawn for it, depend on the
 * seed and the position alone. A bank instead holds pairs that were drawn and noised once.
 *
 * Yields step events, and eval events with the accuracy by timestep on held-out pairs. Resumes from the run's newest checkpoint. An aborted
 * signal ends it after the update at work and a checkpoint, by throwing the signal's reason.
 * Throws UserErrors for a config, model, scorer or pairs that will not do, and when numbers run away.
 */
export async function* trainSpm(
  config: TrainSpmSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const checked = checkConfig(TrainSpmConfig, config);
  using context = openContext("train spm", checked, options);
  yield* updates(checked, context);
}

async function* updates(config: TrainSpmConfig, context: RecipeContext): AsyncGenerator<RecipeEvent> {
  const { run, signal, device } = context;
  const tell = phaseTeller(context);
  tell("loading the model");
  const pipe = loadTextToImage(config.model, { configs: config.configs ?? undefined, device });
  const side = trainingSide(pipe, config.resolution);
  tell("loading the scorer");
  const { spm, processor } = startSpm(config.init, generatorAt(config.seed, "init"), { device });
  const meter = new WorkMeter();
  const labeller = config.relabel && {
    reward: await loadReward(config.relabel.by ?? `pickscore:${config.init}`, {
      tokenizer: pipe.tokenizer,
      device,
    }),
    threshold: config.relabel.threshold,
  };
  const labelled = async (batch: PairBatch, counted?: WorkMeter): Promise<PairBatch> =>
    labeller ? relabelPairs(batch, labeller, counted) : batch;
  const drawing = { ...config, process: pipe.process };
  const noiser = new PairNoiser(pipe, { side, guidanceScale: config.guidanceScale });
  const reading = { side, kernel: "bicubic", aheadBytes: config.readAhead * 2 ** 20 } as const;
  const { allowOutside } = config;
  tell("reading the pairs");
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
    const { maxGradNorm } = config;
    const update = new Update({ parameters, optimizer, maxGradNorm, meter });
    let measured: Record<string, number> | undefined;
    // Before the bank: what it takes is told of after the cut that going on makes in the log.
    let step = run.resume((folder) => restoreTrainingState(folder, state));
    yield* run.data(dataFacts({ pairs: set.fingerprint }));
    if (step === 0) for (const message of doubtfulSettings(config)) yield* run.warn(message);
    const bank: SeenPairs[] = [];
    for await (const seen of drawBank()) {
      bank.push(seen);
      yield* run.phase("noised pairs", Math.min(bank.length * config.batch, config.bank), config.bank);
      signal.throwIfAborted();
    }
    const held = heldSet && holdsAll(heldSet) ? await all(noiseHeld(heldSet)) : undefined;
    if (step > 0)
      meter.take(); // the run's beginning has counted what is computed before the first step
    else if (heldSet) yield* run.eval(0, await evaluate(heldSet, held, 0));
    for (; step < config.steps; step++) {
      const first = step * config.batch;
      const places = bank.length > 0 ? drawPlaces(bank, generatorAt(config.seed, "step", step)) : undefined;
      const examples = places ? examplesOf(bank, places) : loader.examples(first, config.batch);
      let [loss, accuracy] = [0, 0];
      for (const { start, size, share } of microBatches(config.batch, microBatch)) {
        tell("updating", { done: start, total: config.batch });
        const read = places ? undefined : await labelled(await loader.read(first + start, size), meter);
        scope(() => {
          const seen = read
            ? see(read, first + start)
            : fromBank(bank, (places as number[]).slice(start, start + size));
          const [score0, score1] = score(seen, start === 0 ? [step] : [step, start]);
          const part = spmLoss({
            score0,
            score1,
            ...labelTensors(seen.label0, seen.examples, device),
            inverseSum: inverseSumOf(examples, device),
          });
          part.loss.backward();
          // Read together, because each reading waits for the device.
          const figures = cat([part.loss.reshape([1]), score0, score1]).toNumbers();
          const [of0, of1] = [figures.slice(1, 1 + size), figures.slice(1 + size)];
          loss += figures[0] as number;
          accuracy += share * pairAccuracy(of0, of1, seen.label0);
        });
      }
      const scale = scope(() => spm.logit_scale.exp().item());
      const { warmup, steps: total } = config;
      const rate = learningRateAt(step, { lr, warmup, decay: "linear", total });
      const { metrics, warnings } = update.apply({ loss, lr: rate, where: `step ${step + 1}` });
      for (const message of warnings) yield* run.warn(message);
      yield* run.step(step + 1, total, { loss, accuracy, scale, ...metrics, lr: rate }, meter.take());
      if (heldSet && isDue(step + 1, config.evalEvery, total)) {
        measured = await evaluate(heldSet, held, step + 1);
        yield* run.eval(step + 1, measured);
        const unknown = Object.keys(measured).filter((name) => Number.isNaN(measured?.[name]));
        if (unknown.length > 0)
          yield* run.warn(
            `step ${step + 1}: no ${unknown.join(", ")}: its scores are not finite, or all of its pairs are ties`,
          );
      }
      const save = { every: config.saveEvery, total, isSound: update.isSound, isStopping: signal.aborted };
      if (checkpointIsDue(step + 1, save))
        yield* run.save(step + 1, (folder) => saveTrainingState(folder, state));
      signal.throwIfAborted();
    }
    update.requireSound(`step ${config.steps}`);
    saveSpm(config.output, spm, processor);
    // Measured after the last step, unless another process did that step.
    const accuracy = heldSet ? (measured ?? (await evaluate(heldSet, held, config.steps))) : {};
    if (heldSet) saveAccuracy(config.output, accuracy);
    const doubt = doubtfulJudge(accuracy);
    if (doubt) yield* run.warn(doubt);
    yield* run.done({ output: config.output, ...accuracy });
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
        return noiser.draw(1, drawTimesteps(1, drawing, generator), generator);
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
      const timesteps = drawTimesteps(rows.length, drawing, generator);
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
          // Not counted: measuring does not count as the training's work.
          tell("noising held-out pairs", { done: start, total: from.size });
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
    after: number,
  ): Promise<Record<string, number>> {
    const left = timesDueAfter(after, config.evalEvery, config.steps);
    const total = from.size * config.evalTimesteps.length;
    let done = 0;
    tell("measuring", { done, total, left });
    // Ties that relabelling made are left out. Source: algorithm 3c, evaluation.
    const found = new AccuracyByTimestep(config.evalTimesteps, { withoutTies: labeller !== undefined });
    for await (const { t, seen: pairs } of seen ?? noiseHeld(from)) {
      const [score0, score1] = scope(() =>
        plainScores(spm, processor, pairs, pipe.tokenize(pairs.prompts)[0] as Tensor),
      );
      found.add(t, { score0, score1, label0: pairs.label0 });
      done += pairs.label0.length;
      tell("measuring", { done, total, left });
      if (!seen) for (const tensor of [pairs.image0, pairs.image1, pairs.timesteps]) tensor.dispose();
    }
    return found.metrics();
  }
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}
