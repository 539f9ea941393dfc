// Step-aware preference optimisation. Source: algorithms 4 and 5; Liang et al. 2024, section 3.3 and 3.4.
import { dataFacts } from "@spo/data";
import { disposeConditions, inPasses } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import { generatorAt, keep } from "@spo/torch";
import type { StepAwareJudge } from "../../judges/judge.js";
import { scorerOfPlaces } from "../../judges/scorer-of-places.js";
import { ratioFigures } from "../../objectives/spo-loss.js";
import { disposePairs } from "../../objectives/step-pairs.js";
import {
  openContext,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
  requestsNow,
  stop,
} from "../recipe.js";
import type { TrainSpoSettings } from "../settings.gen.js";
import { checkpointIsDue, isDue, stripIsDue } from "../training/due.js";
import { drawAsked } from "../training/held-out-prompts.js";
import { learningRateAt } from "../training/learning-rate.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import { saveStrips } from "./candidate-strips.js";
import { pairBatches } from "./pair-batches.js";
import { pairGradients } from "./pair-gradients.js";
import { PairWatch, summarise } from "./pair-watch.js";
import { promptsAt } from "./prompt-order.js";
import { sampleRound } from "./sample-round.js";
import { setUpSpo } from "./spo-setup.js";
import { TrainSpoConfig } from "./train-spo-config.js";

/** Options of `trainSpo` beside the config. */
export interface SpoOptions extends RecipeOptions {
  /** A judge of the caller's own, in place of the config's. */
  judge?: StepAwareJudge;
}

/**
 * Rounds of: sample pools of candidates, take win-lose pairs, update on the pairs.
 *
 * Yields a step event for every update and a comparisons event for every round; resumes from the newest checkpoint, at a round's end. An
 * aborted signal ends it after the round at work and a checkpoint, by throwing the signal's reason.
 * Throws UserErrors for an unusable config, model, judge or prompts, and when loss or scores are not finite ten times in a row.
 */
export async function* trainSpo(
  config: TrainSpoSettings,
  { judge, ...options }: SpoOptions = {},
): AsyncGenerator<RecipeEvent> {
  const checked = checkConfig(TrainSpoConfig, config);
  using context = openContext("train spo", checked, options);
  yield* rounds(checked, context, judge);
}

async function* rounds(
  config: TrainSpoConfig,
  context: RecipeContext,
  givenJudge?: StepAwareJudge,
): AsyncGenerator<RecipeEvent> {
  const { run, device } = context;
  const setup = await setUpSpo(config, context, givenJudge);
  const { tell, meter, prompts, judge, scorer, policy, process, decode, latentShape, update, state, guard } =
    setup;
  const { rounds: total, steps, eta, beta, clip, ratio, microBatch } = config;
  const { normPenalty } = config.guards;
  const watch = new PairWatch(config);
  let round = run.resume((folder) => restoreTrainingState(folder, state));
  for (const message of setup.warnings) yield* run.warn(message);
  yield* run.data(dataFacts(setup.facts));
  if (round > 0) meter.take(); // the run's beginning has counted the text features already
  if (round === 0 && setup.doubt) yield* run.warn(setup.doubt);
  if (round === 0 && setup.showHeldOut) {
    yield* setup.showHeldOut(run, 0, "reference");
    yield* guard.see(0);
  }

  for (; round < total && !guard.isStopped; round++) {
    const where = `round ${round + 1}`;
    const generator = generatorAt(config.seed, "round", round);
    const chosen = promptsAt(round, prompts.length, config);
    const conditions = policy.withBaseTexts(() => keep(setup.conditionsOf(chosen)));
    const denoisers = policy.denoisers(conditions, config.guidanceScale, setup.encodingOf(chosen));
    const withStrip = setup.stripEvery !== null && stripIsDue(round, setup.stripEvery, total);
    const left = total - round - 1;
    judge.beginRound?.(round);
    tell("sampling", { done: 0, total: steps, left });

    const { pairs, comparisons, strips } = sampleRound({
      ...{ policy, process, decode, latentShape, generator, device, meter },
      denoiser: inPasses(denoisers.policy, config.samplingBatch),
      scorer: scorerOfPlaces(scorer, chosen),
      settings: setup.rollout,
      count: chosen.length,
      noiseBlock: config.noiseBlock,
      stripPrompts: withStrip ? [0, 1].slice(0, chosen.length) : [],
      onStep: (done, of) => tell("sampling", { done, total: of, left }),
    });
    if (withStrip) {
      const texts = chosen.map((row) => prompts[row] as string);
      yield* saveStrips(run, round, strips, texts);
    }
    yield run.record({ type: "comparisons", step: round + 1, timesteps: summarise(comparisons) });
    for (const message of watch.see(comparisons)) yield* run.warn(message);
    watch.requireScores(where);

    const batches = pairBatches(pairs.size, config.batch, generator);
    if (batches.length === 0) {
      const metrics = { pairs: 0, progress: (round + 1) / total };
      yield* run.step(round + 1, total, metrics, meter.take());
    }
    for (const [i, places] of batches.entries()) {
      tell("updating", { done: i, total: batches.length });
      const { loss, logRatioWin, logRatioLose, normRatio } = pairGradients({
        ...{
          ...denoisers,
          process,
          pairs,
          places,
          microBatch,
          steps,
          eta,
          beta,
          clip,
          ratio,
          normPenalty,
          meter,
        },
        parameters: policy.trained,
        scale: (part) => update.scale(part),
      });
      const done = round + (i + 1) / batches.length; // in rounds, this update among them
      const most = config.optimizer.lr * guard.rate;
      const lr = learningRateAt(done, { lr: most, warmup: config.warmupRounds, decay: "constant", total });
      const { metrics, warnings } = await update.apply({ loss, lr, where });
      for (const message of warnings) yield* run.warn(message);
      const figures = {
        loss,
        ...ratioFigures(logRatioWin, logRatioLose, clip),
        pairs: places.length,
        ...metrics,
        lr,
        normRatio,
        progress: done / total,
      };
      yield* run.step(round + 1, total, figures, meter.take());
    }
    policy.updateEma(round);
    disposePairs(pairs);
    disposeConditions(conditions.conditional); // the unconditional row is shared by all rounds
    const asked = await requestsNow(context);
    if (setup.showHeldOut && isDue(round + 1, setup.sampleEvery, total)) {
      yield* setup.showHeldOut(run, round + 1, "policy");
      yield* guard.see(round + 1);
    } else if (asked.sample) yield* drawAsked(run, round + 1, setup.showHeldOut);
    // A round without a single finite score leaves the weights in doubt too.
    const isSound = update.isSound && comparisons.some(({ finite }) => finite.includes(true));
    if (
      checkpointIsDue(round + 1, {
        every: config.saveEvery,
        total,
        isSound,
        isAsked: asked.save || asked.stop,
      })
    )
      yield* run.save(round + 1, (folder) => saveTrainingState(folder, state));
    if (asked.stop) stop(context);
  }
  update.requireSound(`round ${round}`);
  const guarded = guard.finish();
  setup.save();
  yield* run.done({ output: config.output, ...guarded });
}
