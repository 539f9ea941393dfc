// Step-aware preference optimisation. Source: algorithms 4 and 5; Liang et al. 2024, section 3.3 and 3.4.
import { basename, join } from "node:path";
import { dataFacts, fingerprintOfPrompts, readPrompts } from "@spo/data";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import { disposeConditions, loadTextToImage, type TextToImage } from "@spo/diffusion";
import { WorkMeter } from "@spo/records";
import { checkConfig, withoutPlaces } from "@spo/records/config";
import { stripFileName } from "@spo/records/report";
import {
  AdamW,
  generatorAt,
  keep,
  noGrad,
  notFiniteAt,
  randn,
  resolveDevice,
  scope,
  type Tensor,
  writeFileAtomic,
} from "@spo/torch";
import type { StepAwareJudge } from "../../judges/judge.js";
import { openJudge } from "../../judges/open-judge.js";
import { RandomJudge } from "../../judges/random-judge.js";
import { scorerOfPlaces } from "../../judges/scorer-of-places.js";
import { ratioFigures } from "../../objectives/spo-loss.js";
import type { StepPairs } from "../../objectives/step-pairs.js";
import { type CandidateStrip, drawn, resample } from "../../rollout/resampler.js";
import {
  openContext,
  phaseTeller,
  type RecipeContext,
  type RecipeEvent,
  type RecipeOptions,
} from "../recipe.js";
import type { TrainSpoSettings } from "../settings.gen.js";
import { readAccuracy } from "../train-spm/held-out-accuracy.js";
import { doubtfulJudge } from "../training/doubtful-settings.js";
import { checkpointIsDue, isDue, stripIsDue, timesDueAfter } from "../training/due.js";
import { type HeldOutInput, heldOutSamples, type Standing } from "../training/held-out-samples.js";
import { learningRateAt } from "../training/learning-rate.js";
import { makePolicy } from "../training/policy.js";
import { Precision, weightsDtype } from "../training/precision.js";
import { promptConditions } from "../training/prompt-conditions.js";
import { trainingSide } from "../training/training-side.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import { Update } from "../training/update.js";
import { pairBatches } from "./pair-batches.js";
import { pairGradients } from "./pair-gradients.js";
import { PairWatch, summarise } from "./pair-watch.js";
import { promptsAt } from "./prompt-order.js";
import { requireSpread } from "./step-spread.js";
import { requireRollout, TrainSpoConfig } from "./train-spo-config.js";

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
  const { run, signal } = context;
  const tell = phaseTeller(context);
  const device = resolveDevice(config.device);
  const leftOut: string[] = [];
  const reading = { onWarning: (message: string) => void leftOut.push(message) };
  const prompts = readPrompts(config.prompts, reading);
  tell("loading the model");
  const pipe = loadTextToImage(config.model, {
    configs: config.configs ?? undefined,
    device,
    dtype: weightsDtype(config),
  });
  const { process } = pipe;
  const latentSize = latentSizeOf(pipe, config);
  requireRollout(config, latentSize);
  requireSpread(process, config);
  const latentShape = pipe.denoiser.latentShape(latentSize);
  const imageSize = imageSizeOf(pipe, latentSize);
  const decode = (latents: Tensor): Tensor => pipe.vae.decodeLatents(latents);
  tell("loading the judge");
  const judge = await openJudge(config, pipe, latentSize, givenJudge);
  const meter = new WorkMeter();
  tell("encoding the prompts");
  const scorer = noGrad(() => judge.prepare(prompts, meter));
  const conditionsOf = promptConditions(pipe, prompts, imageSize);
  const precision = new Precision(config, pipe);
  const policy = makePolicy(pipe, config, precision);

  const { lr, ...rest } = config.optimizer;
  const optimizer = new AdamW(policy.trained, { lr, ...rest });
  const state = { modules: policy.modules, optimizer, scaler: precision.scaler };
  const { maxGradNorm } = config;
  const update = new Update({ parameters: policy.trained, optimizer, maxGradNorm, precision, meter });
  const epoch = Math.ceil(prompts.length / config.promptsPerRound); // rounds that see every prompt
  const stripEvery = config.stripEvery ?? epoch;
  const sampleEvery = config.sampleEvery ?? stripEvery;
  const watch = new PairWatch(config);
  const asked = config.heldOut === null ? prompts : readPrompts(config.heldOut, reading);
  const heldOut = asked.slice(0, config.samples);
  let sampledAfter = 0; // rounds after which held-out samples have been drawn
  const standing = heldOut.length > 0 ? heldOutSamples(heldOutInput()) : undefined;
  let round = run.resume((folder) => restoreTrainingState(folder, state));
  for (const message of leftOut) yield* run.warn(message);
  yield* run.data(
    dataFacts({ prompts: fingerprintOfPrompts(prompts), heldOut: fingerprintOfPrompts(heldOut) }),
  );
  if (round > 0) meter.take(); // the run's beginning has counted the text features already
  if (round === 0 && config.judge === "spm" && config.spm !== null && !givenJudge) {
    const doubt = doubtfulJudge(readAccuracy(config.spm) ?? {});
    if (doubt) yield* run.warn(doubt);
  }
  if (round === 0 && standing) yield* showSamples(0, standing("reference"));

  for (; round < config.rounds; round++) {
    const generator = generatorAt(config.seed, "round", round);
    const chosen = promptsAt(round, prompts.length, config);
    const conditions = keep(conditionsOf(chosen));
    const denoisers = policy.denoisers(conditions, config.guidanceScale);
    const withStrip = stripIsDue(round, stripEvery, config.rounds);
    judge.beginRound?.(round);
    const onStep = (done: number, total: number): void =>
      tell("sampling", { done, total, left: config.rounds - round - 1 });
    onStep(0, config.steps);

    const { pairs, comparisons, strips } = policy.sampling(() =>
      noGrad(() =>
        scope(() => {
          const { latents: _, ...kept } = resample({
            denoiser: denoisers.policy,
            process,
            decode,
            scorer: scorerOfPlaces(scorer, chosen),
            initialLatents: randn([chosen.length, ...latentShape], { generator, device }),
            randomness: drawn(generator, { device, noiseBlock: config.noiseBlock }),
            settings: config,
            stripPrompts: withStrip ? [0, 1].slice(0, chosen.length) : [],
            meter,
            onStep,
          });
          return keep(kept);
        }),
      ),
    );
    if (withStrip) {
      const shown = strips.filter(({ images }) => !scope(() => notFiniteAt(images).any().item()));
      const path = join(run.folder, "strips", stripFileName(round));
      const texts = chosen.map((row) => prompts[row] as string);
      await saveStrips(path, shown, texts);
      if (shown.length < strips.length)
        yield* run.warn(
          `round ${round + 1}: candidates that are not finite are not kept as images, at ${strips.length - shown.length} of ${strips.length} comparisons`,
        );
    }
    for (const strip of strips) strip.images.dispose();
    yield run.record({ type: "comparisons", step: round + 1, timesteps: summarise(comparisons) });
    for (const message of watch.see(comparisons)) yield* run.warn(message);
    watch.requireScores(`round ${round + 1}`);

    const batches = pairBatches(pairs.size, config.batch, generator);
    if (batches.length === 0) {
      const metrics = { pairs: 0, progress: (round + 1) / config.rounds };
      yield* run.step(round + 1, config.rounds, metrics, meter.take());
    }
    for (const [i, places] of batches.entries()) {
      tell("updating", { done: i, total: batches.length });
      const { loss, logRatioWin, logRatioLose } = pairGradients({
        ...{ ...denoisers, pairs, places, meter },
        process,
        parameters: policy.trained,
        scale: (part) => update.scale(part),
        microBatch: config.microBatch,
        steps: config.steps,
        eta: config.eta,
        beta: config.beta,
        clip: config.clip,
      });
      const done = round + (i + 1) / batches.length; // in rounds, this update among them
      const rate = learningRateAt(done, {
        lr,
        warmup: config.warmupRounds,
        decay: "constant",
        total: config.rounds,
      });
      const { metrics, warnings } = update.apply({ loss, lr: rate, where: `round ${round + 1}` });
      for (const message of warnings) yield* run.warn(message);
      const figures = {
        loss,
        ...ratioFigures(logRatioWin, logRatioLose, config.clip),
        pairs: places.length,
        ...metrics,
        lr: rate,
        progress: done / config.rounds,
      };
      yield* run.step(round + 1, config.rounds, figures, meter.take());
    }
    policy.average(round);
    disposePairs(pairs);
    disposeConditions(conditions.conditional); // the unconditional row is shared by all rounds
    sampledAfter = round + 1;
    if (standing && isDue(round + 1, sampleEvery, config.rounds))
      yield* showSamples(
        round + 1,
        policy.asResult(() => policy.sampling(() => standing("policy"))),
      );
    // A round without a single finite score leaves the weights in doubt too.
    const isSound = update.isSound && comparisons.some(({ finite }) => finite.includes(true));
    const save = { every: config.saveEvery, total: config.rounds, isSound, isStopping: signal.aborted };
    if (checkpointIsDue(round + 1, save))
      yield* run.save(round + 1, (folder) => saveTrainingState(folder, state));
    signal.throwIfAborted();
  }
  update.requireSound(`round ${config.rounds}`);
  policy.save(config.output, {
    layout: config.loraLayout,
    description: { title: "SPO", resolution: [imageSize[1], imageSize[0]] },
    metadata: { "spo.method": "spo", "spo.settings": JSON.stringify(settingsOf(config)) },
  });
  yield* run.done({ output: config.output });

  function heldOutInput(): HeldOutInput {
    const { seed, steps } = config;
    // Random scores say nothing about the samples.
    const scorer = judge instanceof RandomJudge ? undefined : noGrad(() => judge.prepare(heldOut));
    const conditions = keep(promptConditions(pipe, heldOut, imageSize)(heldOut.map((_, i) => i)));
    return {
      ...policy.denoisers(conditions, config.guidanceScale),
      ...{ process, decode, scorer, count: heldOut.length, latentShape, steps, seed, device },
      onStep: (done, total) =>
        tell("drawing held-out samples", {
          ...{ done, total },
          left: timesDueAfter(sampledAfter, sampleEvery, config.rounds),
        }),
    };
  }

  async function* showSamples(step: number, { images, metrics }: Standing): AsyncGenerator<RecipeEvent> {
    const folder = `samples/round-${String(step).padStart(6, "0")}`;
    const shown = [];
    for (const [i, prompt] of heldOut.entries()) {
      const name = `The held-out sample for ${JSON.stringify(prompt)} after round ${step}`;
      const { data, width, height } = scope(() => rgbFromPixels(images.narrow(0, i, 1), name));
      const file = `${folder}/${i}.png`;
      writeFileAtomic(join(run.folder, file), await encodePng(data, width, height));
      shown.push({ file, prompt, seed: config.seed });
    }
    images.dispose();
    yield run.record({ type: "sample", step, images: shown });
    yield* run.eval(step, metrics);
  }
}

/** Height and width of the latents. Throws a UserError (`CONFIG`) for a size or a model that cannot be. */
function latentSizeOf(pipe: TextToImage, { resolution }: TrainSpoConfig): readonly [number, number] {
  const side = trainingSide(pipe, resolution) / pipe.vae.factor;
  return resolution === null ? pipe.denoiser.sampleSize : [side, side];
}

const imageSizeOf = ({ vae }: TextToImage, [height, width]: readonly [number, number]): [number, number] => [
  height * vae.factor,
  width * vae.factor,
];

/** The settings without paths of this machine: LoRA files are shared. */
function settingsOf(config: TrainSpoConfig): object {
  const { device: _, ...settings } = config;
  return { ...withoutPlaces(TrainSpoConfig, settings, ["scorer"]), judge: basename(config.judge) };
}

function disposePairs({ latentsWin, latentsLose, nextWin, nextLose }: StepPairs): void {
  for (const tensor of [latentsWin, latentsLose, nextWin, nextLose]) tensor.dispose();
}

/** Side of a strip's pictures, pixels: a round has hundreds of them. */
const STRIP_SIDE = 128;

/** Pictures of a round's candidates, for the report. */
async function saveStrips(
  path: string,
  strips: readonly CandidateStrip[],
  prompts: readonly string[],
): Promise<void> {
  const shown = [];
  for (const { images, prompt, ...strip } of strips) {
    const encoded: string[] = [];
    for (let j = 0; j < strip.scores.length; j++) {
      const { data, width, height } = scope(() => rgbFromPixels(images.narrow(0, j, 1)));
      encoded.push(
        Buffer.from(await encodePng(data, width, height, { most: STRIP_SIDE })).toString("base64"),
      );
    }
    shown.push({ ...strip, prompt: prompts[prompt] as string, images: encoded });
  }
  writeFileAtomic(path, JSON.stringify(shown));
}
