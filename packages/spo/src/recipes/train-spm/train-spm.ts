// Trains a step-aware preference model on preference pairs. Source: algorithm 3; Liang et al. 2024, section 3.2.

import { WorkMeter } from "@spo/records";
import { checkConfig, withoutPlaces } from "@spo/records/config";
import { cat, scope } from "@spo/torch";
import { inverseSumOf, labelTensors, pairAccuracy } from "../../objectives/spm-loss.js";
import {
  openContext,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
  requestsNow,
  stop,
} from "../recipe.js";
import type { TrainSpmSettings } from "../settings.gen.js";
import { doubtfulJudge, doubtfulSettings } from "../training/doubtful-settings.js";
import { isDue, timesDueAfter } from "../training/due.js";
import { drawAsked } from "../training/held-out-prompts.js";
import { learningRateAt } from "../training/learning-rate.js";
import { requireSameModels } from "../training/require-same-work.js";
import { resumeTogether } from "../training/resume-together.js";
import { saveDue, saveResult } from "../training/save-due.js";
import { spentTogether } from "../training/spent-together.js";
import { startFrom } from "../training/start-from.js";
import { saveAccuracy } from "./held-out-accuracy.js";
import { inputsOfPart } from "./inputs-of-part.js";
import { pairLoss } from "./pair-loss.js";
import { setUpSpm } from "./spm-setup.js";
import { TrainSpmConfig } from "./train-spm-config.js";

/**
 * Both images of a pair are noised to a random step, and the model learns which of the two people prefer. One that looks at images sees
 * them as the base predicts them.
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
  using context = openContext({ kind: "train spm", schema: TrainSpmConfig }, checked, options);
  yield* updates(checked, context);
}

async function* updates(config: TrainSpmConfig, context: RecipeContext): AsyncGenerator<RecipeEvent> {
  const { run, world, signal, device } = context;
  const { steps: total, batch: batchSize, evalEvery, warmup, optimizer } = config;
  const meter = new WorkMeter();
  const setup = await setUpSpm(config, context, meter);
  const { tell, model, source, update, state } = setup;
  const { accuracy } = source;
  const microBatch = Math.min(batchSize, config.microBatch ?? batchSize);
  /** By timestep, on held-out pairs, after so many steps. */
  const measure = (after: number): Promise<Record<string, number>> => {
    const left = timesDueAfter(after, evalEvery, total);
    const onPairs = (done: number, of: number): void => tell("measuring", { done, total: of, left });
    return accuracy?.measure(model, onPairs) ?? Promise.resolve({});
  };

  try {
    let measured: Record<string, number> | undefined;
    // Before the bank: what it takes is told of after the cut that going on makes in the log.
    const { device: _, ...settings } = config;
    let step = await resumeTogether(context, state, {
      settings: withoutPlaces(TrainSpmConfig, settings),
      data: source.facts,
    });
    if (step === 0 && config.from !== null) startFrom(config.from, { modules: { spm: model.module } });
    await requireSameModels(world, setup.models);
    yield* run.data(source.facts);
    if (step === 0) for (const message of doubtfulSettings(config)) yield* run.warn(message);
    for await (const { done, total: of } of source.prepare()) {
      yield* run.phase("noised pairs", done, of);
      signal.throwIfAborted();
    }
    await accuracy?.prepare();
    if (step > 0)
      meter.take(); // the run's beginning has counted what is computed before the first step
    else if (accuracy) yield* run.eval(0, await measure(0));

    for (; step < total; step++) {
      const pairs = source.pairsOf(step);
      const mine: Record<"loss" | "right", number>[] = [];
      for (const one of update.share(batchSize, microBatch)) {
        if (one) {
          const { start, size, share } = one;
          tell("updating", { done: start, total: batchSize });
          const noised = await pairs.read(start, size);
          scope(() => {
            const part = meter.phase("noising", noised);
            const prompts = [...new Set(part.prompts)];
            const input = {
              inputs: inputsOfPart(source, part, { step, start, size, batch: batchSize, microBatch }),
              timesteps: part.timesteps.to({ device }),
              prompts,
              rows: part.prompts.map((prompt) => prompts.indexOf(prompt)),
              ...labelTensors(part.label0, part.examples, device),
              inverseSum: inverseSumOf(pairs.examples, device),
            };
            const result = meter.phase(
              "judge",
              () => source.loss?.(model, input, part) ?? pairLoss(model, input),
            );
            meter.count("judgeImage", 2 * size);
            meter.count("judgeBackward", 2 * size);
            meter.count("judgeText", prompts.length);
            meter.phase("backward", () => result.loss.backward());
            // Read together, because each reading waits for the device.
            const figures = cat([result.loss.reshape([1]), result.score0, result.score1]).toNumbers();
            mine.push({
              loss: figures[0] as number,
              right: share * pairAccuracy(figures.slice(1, 1 + size), figures.slice(1 + size), part.label0),
            });
          });
        }
        await update.endPart();
      }
      const parts = await update.gatherParts(mine);
      const loss = parts.reduce((sum, part) => sum + part.loss, 0);
      const right = parts.reduce((sum, part) => sum + part.right, 0);
      const { scale } = model;
      const lr = learningRateAt(step, { lr: optimizer.lr, warmup, decay: "linear", total });
      const { metrics, warnings } = await update.apply({ loss, lr, where: `step ${step + 1}` });
      for (const message of warnings) yield* run.warn(message);
      const figures = { loss, accuracy: right, scale, ...metrics, lr };
      yield* run.step(step + 1, total, figures, await spentTogether(world, meter));
      if (accuracy && isDue(step + 1, evalEvery, total)) {
        measured = await measure(step + 1);
        yield* run.eval(step + 1, measured);
        const unknown = Object.entries(measured).flatMap(([name, of]) => (Number.isNaN(of) ? [name] : []));
        if (unknown.length > 0)
          yield* run.warn(
            `step ${step + 1}: no ${unknown.join(", ")}: its scores are not finite, or all of its pairs are ties`,
          );
      }
      const asked = await requestsNow(context);
      if (asked.sample) yield* drawAsked(run, step + 1);
      const save = {
        every: config.saveEvery,
        total,
        isSound: update.isSound,
        isAsked: asked.save || asked.stop,
      };
      yield* saveDue(context, tell, state, step + 1, save);
      if (asked.stop) stop(context);
    }
    update.requireSound(`step ${total}`);
    await saveResult(context, tell, () => model.save(config.output));
    // Measured after the last step, unless another process did that step.
    const found = measured ?? (await measure(total));
    if (accuracy && run.writes) saveAccuracy(config.output, found);
    const doubt = doubtfulJudge(found);
    if (doubt) yield* run.warn(doubt);
    yield* run.done({ output: config.output, ...found });
  } finally {
    await source.close();
  }
}
