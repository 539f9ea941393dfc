// Diffusion-DPO: the policy learns to predict the noise on winners better, and on losers worse, than the reference does. Source: algorithm
// 6; Wallace et al. 2024, algorithm 1.

import { dataFacts, openPairSet, type PairBatch, PairLoader } from "@spo/data";
import { loadTextToImage } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { checkConfig } from "@spo/records/config";
import { Adafactor, AdamW, generatorAt, noGrad, type Optimizer, scope } from "@spo/torch";
import {
  openContext,
  phaseTeller,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
} from "../recipe.js";
import type { TrainDpoSettings } from "../settings.gen.js";
import { doubtfulSettings } from "../training/doubtful-settings.js";
import { checkpointIsDue, isDue, timesDueAfter } from "../training/due.js";
import { learningRateAt } from "../training/learning-rate.js";
import { microBatches } from "../training/micro-batches.js";
import { makePolicy } from "../training/policy.js";
import { Precision, weightsDtype } from "../training/precision.js";
import { trainingSide } from "../training/training-side.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import { Update } from "../training/update.js";
import { drawPair, type NoisyPairs, noisyPairs } from "./noisy-pairs.js";
import { type PairLoss, pairLoss } from "./pair-loss.js";
import { TrainDpoConfig } from "./train-dpo-config.js";

/**
 * Reads preference pairs as a stream, so the set may be of any size. The pair at a position, and all that is drawn for it, depend
 * on the seed and the position alone.
 *
 * Yields step events, and eval events with the loss and accuracy on held-out pairs. Resumes from the run's newest checkpoint. An aborted
 * signal ends it after the update at work and a checkpoint, by throwing the signal's reason.
 * Throws UserErrors for a config, model or pairs that will not do, and when numbers run away.
 */
export async function* trainDpo(
  config: TrainDpoSettings,
  options: RecipeOptions = {},
): AsyncGenerator<RecipeEvent> {
  const checked = checkConfig(TrainDpoConfig, config);
  using context = openContext("train dpo", checked, options);
  yield* updates(checked, context);
}

async function* updates(config: TrainDpoConfig, context: RecipeContext): AsyncGenerator<RecipeEvent> {
  const { run, signal, device } = context;
  const tell = phaseTeller(context);
  tell("loading the model");
  const pipe = loadTextToImage(config.model, {
    configs: config.configs ?? undefined,
    device,
    dtype: weightsDtype(config),
  });
  const side = trainingSide(pipe, config.resolution);
  const precision = new Precision(config, pipe);
  const policy = makePolicy(pipe, config, precision);
  const { kind, lr, betas, weightDecay } = config.optimizer;
  const optimizer: Optimizer =
    kind === "adafactor"
      ? new Adafactor(policy.trained, { lr, weightDecay })
      : new AdamW(policy.trained, { lr, betas, weightDecay });
  const state = { modules: policy.modules, optimizer, scaler: precision.scaler };
  const meter = new WorkMeter();
  const { maxGradNorm } = config;
  const update = new Update({ parameters: policy.trained, optimizer, maxGradNorm, precision, meter });

  const reading = { side, kernel: "bilinear", aheadBytes: config.readAhead * 2 ** 20 } as const;
  tell("reading the pairs");
  const opening = { dropTies: true, allowOutside: config.allowOutside } as const;
  const set = await openPairSet(config.pairs, { ...opening, split: config.split });
  const loader = new PairLoader(set, { seed: config.seed, mirror: config.mirror, ...reading });
  const held = config.evalPairs > 0 ? await readHeld() : [];

  try {
    let step = run.resume((folder) => restoreTrainingState(folder, state));
    yield* run.data(dataFacts({ pairs: set.fingerprint }));
    if (step === 0) for (const message of doubtfulSettings(config)) yield* run.warn(message);
    if (step === 0 && held.length > 0) yield* run.eval(0, evaluate(0));
    for (; step < config.steps; step++) {
      let [loss, accuracy] = [0, 0];
      for (const { start, size, share } of microBatches(config.batch, config.microBatch)) {
        tell("updating", { done: start, total: config.batch });
        const first = step * config.batch + start;
        const batch = await loader.read(first, size);
        scope(() => {
          const result = lossOf(prepare(batch, (i) => first + i, config.emptyPrompts));
          meter.count("unetBackward", result.samples);
          meter.phase("backward", () => update.scale(result.loss.mul(share)).backward());
          // Read after backward has started, because reading waits for the device.
          loss += share * result.loss.item();
          accuracy += share * result.accuracy;
        });
      }
      const rate = learningRateAt(step, {
        lr,
        warmup: config.warmup,
        decay: "constant",
        total: config.steps,
      });
      const { metrics, warnings } = update.apply({ loss, lr: rate, where: `step ${step + 1}` });
      for (const message of warnings) yield* run.warn(message);
      policy.updateEma(step);
      const figures = { loss, ...(config.objective === "dpo" ? { accuracy } : {}), ...metrics, lr: rate };
      yield* run.step(step + 1, config.steps, figures, meter.take());
      if (held.length > 0 && isDue(step + 1, config.evalEvery, config.steps))
        yield* run.eval(
          step + 1,
          policy.withEmaWeights(() => evaluate(step + 1)),
        );
      const { saveEvery: every, steps: total } = config;
      if (checkpointIsDue(step + 1, { every, total, isSound: update.isSound, isStopping: signal.aborted }))
        yield* run.save(step + 1, (folder) => saveTrainingState(folder, state));
      signal.throwIfAborted();
    }
    update.requireSound(`step ${config.steps}`);
  } finally {
    await loader.close();
    await set.close();
  }
  policy.save(config.output, { layout: "diffusers" });
  yield* run.done({ output: config.output });

  /** The pairs of a batch with what is drawn for each: placeOf(i) says what the draws of pair i depend on. */
  function prepare(
    batch: PairBatch,
    placeOf: (i: number) => number | string,
    emptyPrompts: number,
  ): NoisyPairs {
    const { latentChannels: channels } = pipe.denoiser;
    const size = side / pipe.vae.factor;
    return noGrad(() =>
      scope(() => {
        const draws = batch.prompts.map((prompt, i) =>
          drawPair(prompt, {
            generator: generatorAt(config.seed, "pair", placeOf(i)),
            process: pipe.process,
            channels,
            size,
            emptyPrompts,
          }),
        );
        return noisyPairs(pipe, batch, draws, meter);
      }),
    );
  }

  function lossOf(pairs: NoisyPairs): PairLoss {
    // Without guidance: training predicts for the prompt alone.
    const sides = { conditional: pairs.conditions, unconditional: pairs.conditions };
    const { objective, beta } = config;
    return pairLoss(pairs, { ...policy.denoisers(sides, 1), objective, beta, meter });
  }

  async function readHeld(): Promise<PairBatch[]> {
    const heldSet = await openPairSet(config.pairs, { ...opening, split: config.evalSplit });
    const heldLoader = new PairLoader(heldSet, { ...reading, seed: null, aheadBytes: 1 });
    try {
      const batches: PairBatch[] = [];
      const count = Math.min(config.evalPairs, heldSet.size);
      for (let start = 0; start < count; start += config.microBatch)
        batches.push(await heldLoader.read(start, Math.min(config.microBatch, count - start)));
      return batches;
    } finally {
      await heldLoader.close();
      await heldSet.close();
    }
  }

  /** On held-out pairs, with the same noise each time. after: the step, 0 before the first. */
  function evaluate(after: number): Record<string, number> {
    const left = timesDueAfter(after, config.evalEvery, config.steps);
    tell("measuring", { done: 0, total: held.length, left });
    let [loss, accuracy, count] = [0, 0, 0];
    for (const [b, batch] of held.entries()) {
      noGrad(() =>
        scope(() => {
          const result = lossOf(prepare(batch, (i) => `eval/${b}/${i}`, 0));
          const pairs = batch.prompts.length;
          loss += pairs * result.loss.item();
          accuracy += pairs * result.accuracy;
          count += pairs;
        }),
      );
      tell("measuring", { done: b + 1, total: held.length, left });
    }
    meter.take(); // measuring does not count as the training's work
    return { loss: loss / count, ...(config.objective === "dpo" ? { accuracy: accuracy / count } : {}) };
  }
}
