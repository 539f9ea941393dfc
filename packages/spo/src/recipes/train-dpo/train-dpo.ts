// Diffusion-DPO: the policy learns to predict the noise on winners better, and on losers worse, than the reference does. Source: algorithm
// 6; Wallace et al. 2024, algorithm 1.

import { dataFacts, openPairSet, type PairBatch, PairLoader, readPrompts } from "@spo/data";
import { scaleOfPromptAlone, type TextToImage } from "@spo/diffusion";
import { mean, WorkMeter } from "@spo/records";
import { checkConfig } from "@spo/records/config";
import { scope } from "@spo/torch";
import {
  openContext,
  phaseTeller,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
  requestsNow,
  stop,
} from "../recipe.js";
import type { TrainDpoSettings } from "../settings.gen.js";
import { doubtfulSettings } from "../training/doubtful-settings.js";
import { isDue, timesDueAfter } from "../training/due.js";
import { Guard } from "../training/guard.js";
import { requireGuards } from "../training/guard-config.js";
import { drawAsked, heldOutPrompts } from "../training/held-out-prompts.js";
import { openHeldOutScorers } from "../training/held-out-scorers.js";
import { learningRateAt } from "../training/learning-rate.js";
import { loadBase } from "../training/load-base.js";
import { positionsOfProcess, sharerOf } from "../training/micro-batches.js";
import { makeOptimizer } from "../training/optimizer.js";
import { makePolicy, type Policy } from "../training/policy.js";
import { Precision, setUpVae } from "../training/precision.js";
import { encodeFirst, PromptCache } from "../training/prompt-cache.js";
import { requireCacheable } from "../training/prompt-cache-config.js";
import { encodePlaces } from "../training/prompt-conditions.js";
import { requireSameModels } from "../training/require-same-work.js";
import { resumeTogether } from "../training/resume-together.js";
import { saveDue, saveResult } from "../training/save-due.js";
import { spentTogether } from "../training/spent-together.js";
import { startFrom } from "../training/start-from.js";
import { latentSizeOf, trainingSide } from "../training/training-side.js";
import { Update } from "../training/update.js";
import { measureHeldOut, readHeldOut } from "./held-out-pairs.js";
import { drawNoisyPairs } from "./noisy-pairs.js";
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
  using context = openContext({ kind: "train dpo", schema: TrainDpoConfig }, checked, options);
  yield* updates(checked, context);
}

async function* updates(config: TrainDpoConfig, context: RecipeContext): AsyncGenerator<RecipeEvent> {
  const { run } = context;
  const { batch: batchSize, emptyPrompts, evalEvery, seed, steps: total } = config;
  const tell = phaseTeller(context);
  const meter = new WorkMeter();
  requireGuards(config.guards, {
    samples: config.heldOut === null ? 0 : config.samples,
    hasScore: config.objective === "dpo",
  });
  requireCacheable(config);
  const opening = { dropTies: true, allowOutside: config.allowOutside } as const;
  const { pipe, side, cache, policy, update, state } = await setUp(config, context, { meter, opening });
  const guard = new Guard({
    ...{ settings: config.guards, run, world: context.world, modules: policy.modules },
    ...{ trainingScore: "trainingAccuracy", unit: "step" },
  });
  const sampleEvery = config.sampleEvery ?? evalEvery;
  const showSamples = await sampleShower(config, context, { pipe, cache, policy, every: sampleEvery });
  const size = side / pipe.vae.factor;
  const reading = { side, kernel: "bilinear" } as const;
  tell("reading the pairs");
  const set = await openPairSet(config.pairs, { ...opening, split: config.split });
  const loader = new PairLoader(set, {
    ...{ seed, mirror: config.mirror, ...reading, aheadBytes: config.readAhead * 2 ** 20 },
    share: positionsOfProcess(batchSize, config.microBatch, sharerOf(context.world, config.reduce)),
  });
  const held =
    config.evalPairs > 0
      ? await readHeldOut({
          ...{ paths: config.pairs, split: config.evalSplit, count: config.evalPairs },
          ...{ batch: config.microBatch, opening, reading },
        })
      : [];

  // place: what the draws of a pair of the batch depend on, beside the seed.
  const lossOf = (batch: PairBatch, place: (i: number) => number | string, empty: number): PairLoss => {
    const pairs = policy.withBaseTexts(() =>
      drawNoisyPairs(pipe, batch, { seed, place, size, emptyPrompts: empty, cache }, meter),
    );
    // Without guidance: training predicts for the prompt alone.
    const denoisers = policy.denoisers(
      { conditional: pairs.conditions, unconditional: pairs.conditions },
      scaleOfPromptAlone(pipe.denoiser, config.guidanceScale),
      encodePlaces(pipe, pairs.prompts, [side, side]),
    );
    const { objective, beta, guards } = config;
    return pairLoss(pairs, { ...denoisers, objective, beta, normPenalty: guards.normPenalty, meter });
  };
  const figuresOf = (loss: number, accuracy: number): Record<string, number> =>
    config.objective === "dpo" ? { loss, accuracy } : { loss };
  const measure = (after: number): Record<string, number> => {
    const left = timesDueAfter(after, evalEvery, total);
    const found = measureHeldOut(
      held,
      (batch, b) => lossOf(batch, (i) => `eval/${b}/${i}`, 0),
      (done, of) => tell("measuring", { done, total: of, left }),
    );
    meter.take(); // measuring does not count as the training's work
    return figuresOf(found.loss, found.accuracy);
  };

  try {
    const data = dataFacts({ pairs: set.fingerprint });
    const {
      model: _,
      configs: _1,
      pairs: _2,
      heldOut: _3,
      output: _4,
      device: _5,
      from: _6,
      ...settings
    } = config;
    let step = await resumeTogether(context, state, { settings, data });
    await guard.resume();
    if (step === 0 && config.from !== null)
      startFrom(config.from, { modules: { policy: policy.modules.policy }, loadLora: policy.loadLora });
    await requireSameModels(context.world, { ...pipe.models, ...policy.modules });
    yield* run.data(data);
    if (step === 0) for (const message of doubtfulSettings(config)) yield* run.warn(message);
    if (step === 0 && held.length > 0) yield* run.eval(0, measure(0));
    if (step === 0 && showSamples) {
      yield* showSamples(run, 0, "reference", { more: { trainingAccuracy: 0.5 } });
      yield* guard.see(0);
    }
    for (; step < total && !guard.isStopped; step++) {
      const mine: Record<"loss" | "accuracy" | "normRatio", number>[] = [];
      for (const part of update.share(batchSize, config.microBatch)) {
        if (part) {
          const { start, size: count, share } = part;
          tell("updating", { done: start, total: batchSize });
          const first = step * batchSize + start;
          const batch = await loader.read(first, count);
          scope(() => {
            const result = lossOf(batch, (i) => first + i, emptyPrompts);
            meter.count("unetBackward", result.samples);
            meter.phase("backward", () => update.scale(result.loss.mul(share)).backward());
            // Read after backward has started, because reading waits for the device.
            mine.push({
              loss: share * result.loss.item(),
              accuracy: share * result.accuracy,
              normRatio: share * (result.normRatio ?? Number.NaN),
            });
          });
        }
        await update.endPart();
      }
      const parts = await update.gatherParts(mine);
      const [loss, accuracy, normRatio] = (["loss", "accuracy", "normRatio"] as const).map((name) =>
        parts.reduce((sum, part) => sum + part[name], 0),
      ) as [number, number, number];
      const most = config.optimizer.lr * guard.rate;
      const lr = learningRateAt(step, { lr: most, warmup: config.warmup, decay: "constant", total });
      const { metrics, warnings } = await update.apply({ loss, lr, where: `step ${step + 1}` });
      for (const message of warnings) yield* run.warn(message);
      policy.updateEma(step);
      const figures = {
        ...{ ...figuresOf(loss, accuracy), ...metrics, lr },
        ...(config.objective === "dpo" && { normRatio }),
      };
      yield* run.step(step + 1, total, figures, await spentTogether(context.world, meter));
      const asked = await requestsNow(context);
      if (held.length > 0 && isDue(step + 1, evalEvery, total)) {
        const found = policy.withEmaWeights(() => measure(step + 1));
        yield* run.eval(step + 1, found);
      }
      if (showSamples && isDue(step + 1, sampleEvery, total)) {
        const trainingAccuracy = recentAccuracy(run.events());
        const options = config.objective === "dpo" ? { more: { trainingAccuracy } } : {};
        yield* showSamples(run, step + 1, "policy", options);
        yield* guard.see(step + 1);
      } else if (asked.sample) yield* drawAsked(run, step + 1, showSamples);
      const save = {
        every: config.saveEvery,
        total,
        isSound: update.isSound,
        isAsked: asked.save || asked.stop,
      };
      yield* saveDue(context, tell, state, step + 1, save);
      if (asked.stop) stop(context);
    }
    update.requireSound(`step ${step}`);
  } finally {
    await loader.close();
    await set.close();
  }
  const guarded = guard.finish();
  await saveResult(context, tell, () => policy.save(config.output, { layout: "diffusers" }));
  yield* run.done({ output: config.output, ...guarded });
}

/** What draws and measures the samples of held-out prompts, where a config names some. Throws as `openHeldOutScorers`. */
async function sampleShower(
  config: TrainDpoConfig,
  context: RecipeContext,
  { pipe, cache, policy, every }: { pipe: TextToImage; cache?: PromptCache; policy: Policy; every: number },
) {
  const { heldOut, guards, guidanceScale, sampleSteps, seed, steps: total } = config;
  if (heldOut === null) return undefined;
  const prompts = samplePrompts(config);
  const latentSize = latentSizeOf(pipe, config.resolution);
  const [height, width] = latentSize.map((side) => side * pipe.vae.factor) as [number, number];
  return heldOutPrompts({
    ...{
      prompts,
      pipe,
      cache,
      policy,
      process: pipe.process.forSampling({ latentSize }),
      device: context.device,
    },
    heldOutScorers: await openHeldOutScorers(guards.heldOutScorers, prompts, { pipe, latentSize, seed }),
    imagesPerPrompt: guards.imagesPerPrompt,
    decode: (latents) => pipe.vae.decodeLatents(latents),
    latentShape: pipe.denoiser.latentShape(latentSize),
    imageSize: [height, width],
    ...{ guidanceScale, steps: sampleSteps, seed, every, total, unit: "step", tell: phaseTeller(context) },
    world: context.world,
  });
}

/** Mean accuracy of the training's own updates since the last samples: what the training itself takes for its success. */
function recentAccuracy(events: readonly RecipeEvent[]): number {
  const last = events.findLastIndex((event) => event.type === "sample" && !event.asked);
  return mean(
    events
      .slice(last + 1)
      .flatMap((event) => (event.type === "step" ? [event.metrics.accuracy ?? Number.NaN] : [])),
  );
}

/** The model, what learns, and its optimizer. Throws UserErrors for a model that will not do, and for pairs whose prompts are cached. */
async function setUp(
  config: TrainDpoConfig,
  context: RecipeContext,
  { meter, opening }: { meter: WorkMeter; opening: Parameters<typeof openPairSet>[1] },
) {
  const tell = phaseTeller(context);
  tell("loading the model");
  const pipe = loadBase(config, context.device);
  setUpVae(pipe.vae, config);
  const side = trainingSide(pipe, config.resolution);
  const cache =
    config.promptCache === null
      ? undefined
      : new PromptCache(config.promptCache, {
          ...{ pipe, model: config.model, configs: config.configs, size: [side, side] },
        });
  if (cache) {
    tell("encoding the prompts");
    const prompts = ["", ...(await promptsOf(config, opening)), ...samplePrompts(config)];
    encodeFirst(pipe, { device: context.device, texts: [{ cache, prompts }] });
  }
  const precision = new Precision(config, pipe);
  const policy = makePolicy(pipe, config, precision);
  const optimizer = makeOptimizer(policy.trained, config.optimizer, config.seed);
  const state = { modules: policy.modules, optimizer, scaler: precision.scaler };
  const { maxGradNorm } = config;
  const update = new Update({
    ...{ parameters: policy.trained, optimizer, maxGradNorm, precision, meter },
    ...{ world: context.world, reduce: config.reduce },
  });
  return { pipe, side, cache, policy, update, state };
}

/** All prompts that a training reads with pairs. */
async function promptsOf(
  { pairs, split, evalSplit, evalPairs }: TrainDpoConfig,
  opening: Parameters<typeof openPairSet>[1],
): Promise<string[]> {
  const found: string[] = [];
  for (const each of [split, ...(evalPairs > 0 ? [evalSplit] : [])]) {
    const set = await openPairSet(pairs, { ...opening, split: each });
    found.push(...(await set.prompts()));
    await set.close();
  }
  return found;
}

/** The held-out prompts that are sampled. */
const samplePrompts = ({ heldOut, samples }: TrainDpoConfig): string[] =>
  heldOut === null ? [] : readPrompts(heldOut).slice(0, samples);
