// Step-aware preference optimisation. Source: algorithms 4 and 5; Liang et al. 2024, section 3.3 and 3.4.
import { dataFacts } from "@spo/data";
import { disposeConditions, inPasses } from "@spo/diffusion";
import { checkConfig } from "@spo/records/config";
import { type Generator, generatorAt, keep } from "@spo/torch";
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
import { isDue, stripIsDue } from "../training/due.js";
import { drawAsked } from "../training/held-out-prompts.js";
import { learningRateAt } from "../training/learning-rate.js";
import { requireSameModels } from "../training/require-same-work.js";
import { resumeTogether } from "../training/resume-together.js";
import { saveDue, saveResult } from "../training/save-due.js";
import { spentTogether } from "../training/spent-together.js";
import { startFrom } from "../training/start-from.js";
import { saveStrips, watchedPlaces } from "./candidate-strips.js";
import { LearnedPairs } from "./learned-pairs.js";
import { pairBatches } from "./pair-batches.js";
import { joinGradients, type PairGradients, pairGradients } from "./pair-gradients.js";
import { PairWatch, summarise } from "./pair-watch.js";
import { promptsAt } from "./prompt-order.js";
import { joinRound, type RoundFound, roundParts } from "./round-parts.js";
import { sampleRound } from "./sample-round.js";
import { type SpoSetup, setUpSpo } from "./spo-setup.js";
import { TrainSpoConfig } from "./train-spo-config.js";

/** Options of `trainSpo` beside the config. */
export interface SpoOptions extends RecipeOptions {
  /** A judge of the caller's own, in place of the config's. */
  judge?: StepAwareJudge;
}

/**
 * Rounds of: sample pools of candidates, take win-lose pairs, update on the pairs.
 *
 * Yields a step event for every update, and for every round a comparisons event and, where it had pairs, a pairs event. Resumes from the
 * newest checkpoint, at a round's end. An aborted signal ends it after the round at work and a checkpoint, by throwing the signal's reason.
 * Throws UserErrors for an unusable config, model, judge or prompts, and when loss or scores are not finite ten times in a row.
 */
export async function* trainSpo(
  config: TrainSpoSettings,
  { judge, ...options }: SpoOptions = {},
): AsyncGenerator<RecipeEvent> {
  const checked = checkConfig(TrainSpoConfig, config);
  using context = openContext({ kind: "train spo", schema: TrainSpoConfig }, checked, options);
  yield* rounds(checked, context, judge);
}

async function* rounds(
  config: TrainSpoConfig,
  context: RecipeContext,
  givenJudge?: StepAwareJudge,
): AsyncGenerator<RecipeEvent> {
  const { run, world, device } = context;
  const setup = await setUpSpo(config, context, givenJudge);
  const { tell, meter, prompts, judge, scorer, policy, process, decode, latentShape, update, state, guard } =
    setup;
  const { people } = setup;
  const { rounds: total, steps, eta, beta, clip, ratio, microBatch, reduce, candidates } = config;
  const { normPenalty } = config.guards;
  const watch = new PairWatch(config);
  const data = dataFacts(setup.facts);
  let round = await resumeTogether(context, state, { settings: setup.settings, data });
  await guard.resume();
  if (round === 0 && config.from !== null)
    startFrom(config.from, { modules: { policy: policy.modules.policy }, loadLora: policy.loadLora });
  await requireSameModels(world, setup.models);
  for (const message of setup.warnings) yield* run.warn(message);
  yield* run.data(data);
  if (round > 0) meter.take(); // the run's beginning has counted the text features already
  if (round === 0 && setup.doubt) yield* run.warn(setup.doubt);
  if (round === 0 && setup.showHeldOut) {
    yield* setup.showHeldOut(run, 0, "reference");
    yield* guard.see(0);
  }

  for (; round < total && !guard.isStopped; round++) {
    const where = `round ${round + 1}`;
    const chosen = promptsAt(round, prompts.length, config);
    const sampling = conditioned(setup, chosen, config.guidanceScale);
    const withStrip = setup.stripEvery !== null && stripIsDue(round, setup.stripEvery, total);
    const left = total - round - 1;
    const parts = roundParts(chosen.length, world, reduce);
    tell("sampling", { done: 0, total: steps * parts.length, left });
    // Each part draws for the whole round, so their generators end alike.
    const generators = parts.map(() => generatorAt(config.seed, "round", round));
    const found: RoundFound[] = [];
    for (const [p, rows] of parts.entries()) {
      const isAll = rows.length === chosen.length;
      judge.beginRound?.(round, isAll ? undefined : { prompts: chosen.length, candidates, rows });
      const sampled = sampleRound({
        ...{ policy, process, decode, latentShape, device, meter },
        generator: generators[p] as Generator,
        denoiser: inPasses(sampling.denoisers.policy, config.samplingBatch),
        scorer: scorerOfPlaces(
          scorer,
          rows.map((row) => chosen[row] as number),
        ),
        settings: setup.rollout,
        ...{ count: chosen.length, rows: isAll ? undefined : rows },
        noiseBlock: config.noiseBlock,
        askBelow: people && config.human.askBelow,
        stripPrompts: withStrip ? watchedPlaces(rows, scorer) : [],
        onStep: (done, of) => tell("sampling", { done: p * of + done, total: of * parts.length, left }),
      });
      found.push({ rows, found: sampled });
    }
    const { pairs: decided, doubted, comparisons, strips } = await joinRound(world, found);
    if (withStrip) {
      const texts = chosen.map((row) => prompts[row] as string);
      yield* saveStrips({ run, world, meter }, round, strips, texts);
    }
    yield run.record({ type: "comparisons", step: round + 1, timesteps: summarise(comparisons) });
    for (const message of watch.see(comparisons)) yield* run.warn(message);
    watch.requireScores(where);

    const timesteps = comparisons.map(({ timestep }) => timestep);
    const sampledRound = {
      round,
      isLast: left === 0,
      denoiser: sampling.denoisers.policy,
      chosen,
      decided,
      timesteps,
    };
    const learned = people && doubted && (await people.exchange({ ...sampledRound, doubted }));
    const pairs = learned?.pairs ?? decided;
    const learning = learned ? conditioned(setup, learned.prompts, config.guidanceScale) : sampling;
    const batches = pairBatches(pairs.size, config.batch, generators[0] as Generator);
    if (batches.length === 0) {
      const metrics = { pairs: 0, ...learned?.answers, progress: (round + 1) / total };
      yield* run.step(round + 1, total, metrics, await spentTogether(world, meter));
    }
    setup.offload.away();
    const ofPairs = new LearnedPairs();
    for (const [i, places] of batches.entries()) {
      tell("updating", { done: i, total: batches.length });
      const mine: PairGradients[] = [];
      for (const part of update.share(places.length, microBatch)) {
        if (part)
          mine.push(
            pairGradients({
              ...{ ...learning.denoisers, process, pairs, steps, eta, beta, clip, ratio, normPenalty, meter },
              places: places.slice(part.start, part.start + part.size),
              share: part.share,
              scale: (loss) => update.scale(loss),
            }),
          );
        await update.endPart();
      }
      const { loss, logRatioWin, logRatioLose, normRatio } = joinGradients(await update.gatherParts(mine));
      ofPairs.add(pairs, places, { logRatioWin, logRatioLose });
      const done = round + (i + 1) / batches.length; // in rounds, this update among them
      const most = config.optimizer.lr * guard.rate;
      const lr = learningRateAt(done, { lr: most, warmup: config.warmupRounds, decay: "constant", total });
      const { metrics, warnings } = await update.apply({ loss, lr, where });
      for (const message of warnings) yield* run.warn(message);
      const figures = {
        loss,
        ...ratioFigures(logRatioWin, logRatioLose, clip),
        pairs: places.length,
        ...learned?.answers,
        ...metrics,
        lr,
        normRatio,
        progress: done / total,
      };
      yield* run.step(round + 1, total, figures, await spentTogether(world, meter));
    }
    setup.offload.back();
    if (batches.length > 0)
      yield run.record({ type: "pairs", step: round + 1, timesteps: ofPairs.byTimestep(timesteps, clip) });
    policy.updateEma(round);
    disposePairs(pairs);
    // The unconditional row is shared by all rounds.
    for (const { conditions } of new Set([sampling, learning])) disposeConditions(conditions.conditional);
    const asked = await requestsNow(context);
    if (setup.showHeldOut && isDue(round + 1, setup.sampleEvery, total)) {
      yield* setup.showHeldOut(run, round + 1, "policy");
      yield* guard.see(round + 1);
    } else if (asked.sample) yield* drawAsked(run, round + 1, setup.showHeldOut);
    // A round without a single finite score leaves the weights in doubt too.
    const isSound = update.isSound && comparisons.some(({ finite }) => finite.includes(true));
    const save = { every: config.saveEvery, total, isSound, isAsked: asked.save || asked.stop };
    yield* saveDue(context, tell, state, round + 1, save);
    if (asked.stop) stop(context);
  }
  update.requireSound(`round ${round}`);
  const guarded = guard.finish();
  await saveResult(context, tell, () => setup.save());
  yield* run.done({ output: config.output, ...guarded });
}

/** Conditions of some prompts of the training, and what predicts with them. */
function conditioned(
  { policy, conditionsOf, encodingOf }: SpoSetup,
  rows: readonly number[],
  guidanceScale: number,
) {
  const conditions = policy.withBaseTexts(() => keep(conditionsOf(rows)));
  return { conditions, denoisers: policy.denoisers(conditions, guidanceScale, encodingOf(rows)) };
}
