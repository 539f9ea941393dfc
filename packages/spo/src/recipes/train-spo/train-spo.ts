// Step-aware preference optimisation. Source: algorithms 4 and 5; Liang et al. 2024, section 3.3 and 3.4.
import { basename, join } from "node:path";
import { defaultLatentSize, loadTextToImage, type TextToImage } from "@spo/diffusion";
import {
  AdamW,
  cat,
  keep,
  noGrad,
  randn,
  randperm,
  resolveDevice,
  scope,
  type Tensor,
  writeFileAtomic,
  zerosLike,
} from "@spo/torch";
import type { z } from "zod";
import { checkConfig } from "../../config/index.js";
import { encodePng, rgbFromPixels } from "../../data/pixels.js";
import { readPrompts } from "../../data/prompts.js";
import type { StepAwareJudge } from "../../judges/judge.js";
import { RandomJudge } from "../../judges/random-judge.js";
import { backward, ratioFigures, spoBatchLoss } from "../../losses/spo-loss.js";
import { generatorAt } from "../../randomness.js";
import { stripFileName } from "../../report/index.js";
import { type StepPairs, selectPairs } from "../../resampler/pairs.js";
import { type CandidateStrip, drawn, resample } from "../../resampler/resampler.js";
import { WorkMeter } from "../../work.js";
import { openContext, type RecipeContext, type RecipeEvent, type RecipeOptions } from "../recipe.js";
import { MOST_SKIPPED, notFinite, scoresNotFinite } from "../training/not-finite.js";
import { makePolicy } from "../training/policy.js";
import { Precision, weightsDtype } from "../training/precision.js";
import { trainingSide } from "../training/training-side.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import { type HeldOutInput, heldOutSamples, type Standing } from "./held-out-samples.js";
import { openJudge } from "./open-judge.js";
import { PairWatch, summarise } from "./pair-watch.js";
import { disposeConditions, promptConditions } from "./prompt-conditions.js";
import { requireRollout, TrainSpoConfig } from "./train-spo-config.js";

/** What a library's caller may give beside the config. */
export interface SpoOptions extends RecipeOptions {
  /** A judge of the caller's own, in place of the config's. */
  judge?: StepAwareJudge;
}

/**
 * Rounds of: sample pools of candidates, take win-lose pairs, update on the pairs.
 *
 * Yields a step event for every update and a comparisons event for every round; resumes from the newest checkpoint, at a round's end. An
 * aborted signal ends it after the round at work and a checkpoint, by throwing the signal's reason.
 * Throws UserErrors for a config, model, judge or prompts that will not do, and when numbers run away.
 */
export async function* trainSpo(
  config: z.input<typeof TrainSpoConfig>,
  { judge, ...options }: SpoOptions = {},
): AsyncGenerator<RecipeEvent> {
  const checked = checkConfig(TrainSpoConfig, config);
  using context = openContext("train spo", checked, options);
  yield* rounds(checked, context, judge);
}

async function* rounds(
  config: TrainSpoConfig,
  { run, signal }: RecipeContext,
  givenJudge?: StepAwareJudge,
): AsyncGenerator<RecipeEvent> {
  const device = resolveDevice(config.device);
  const prompts = readPrompts(config.prompts);
  const pipe = loadTextToImage(config.model, {
    configs: config.configs ?? undefined,
    device,
    dtype: weightsDtype(config),
  });
  const latentSize = latentSizeOf(pipe, config);
  requireRollout(config, latentSize);
  const latentShape = [pipe.unet.config.in_channels, ...latentSize];
  const imageSize = imageSizeOf(pipe, latentSize);
  const decode = (latents: Tensor): Tensor => pipe.vae.decodeLatents(latents);
  const judge = await openJudge(config, pipe, latentSize, givenJudge);
  const meter = new WorkMeter();
  const prepared = keep(noGrad(() => scope(() => judge.prepare(prompts, meter))));
  const conditionsOf = promptConditions(pipe, prompts, imageSize);
  const precision = new Precision(config, pipe);
  const policy = makePolicy(pipe, config, precision);

  const { lr, ...rest } = config.optimizer;
  const optimizer = new AdamW(policy.trained, { lr, ...rest });
  const state = { modules: policy.modules, optimizer, scaler: precision.scaler };
  const epoch = Math.ceil(prompts.length / config.promptsPerRound); // rounds that see every prompt
  const stripEvery = config.stripEvery ?? epoch;
  const sampleEvery = config.sampleEvery ?? stripEvery;
  const watch = new PairWatch(config);
  const heldOut = (config.heldOut === null ? prompts : readPrompts(config.heldOut)).slice(0, config.samples);
  const standing = heldOut.length > 0 ? heldOutSamples(heldOutInput()) : undefined;
  let skipped = 0;
  let round = run.resume((folder) => restoreTrainingState(folder, state));
  if (round > 0) meter.take(); // the text features have been counted when the run began
  if (round === 0 && standing) yield* showSamples(0, standing("reference"));

  for (; round < config.rounds; round++) {
    const generator = generatorAt(config.seed, "round", round);
    const chosen = promptsAt(round, prompts.length, config);
    const conditions = keep(conditionsOf(chosen));
    const denoisers = policy.denoisers(conditions, config.guidanceScale);
    const withStrip = round % stripEvery === 0 || round === config.rounds - 1;
    judge.beginRound?.(round);

    const { pairs, comparisons, strips } = policy.sampling(() =>
      noGrad(() =>
        scope(() => {
          const { latents: _, ...kept } = resample({
            denoiser: denoisers.policy,
            schedule: pipe.schedule,
            decode,
            judge: ofPrompts(judge, chosen),
            prepared,
            initialLatents: randn([chosen.length, ...latentShape], { generator, device }),
            randomness: drawn(generator, { device, noiseBlock: config.noiseBlock }),
            settings: config,
            stripPrompts: withStrip ? [0, 1].slice(0, chosen.length) : [],
            meter,
          });
          return keep(kept);
        }),
      ),
    );
    if (withStrip)
      await saveStrips(
        join(run.folder, "strips", stripFileName(round)),
        strips,
        chosen.map((row) => prompts[row] as string),
      );
    for (const strip of strips) strip.images.dispose();
    yield run.record({ type: "comparisons", step: round + 1, timesteps: summarise(comparisons) });
    for (const message of watch.see(comparisons)) yield* run.warn(message);
    if (watch.silent >= MOST_SKIPPED) throw scoresNotFinite(watch.silent, `round ${round + 1}`);

    const order = scope(() => randperm(pairs.size, { generator }).toNumbers());
    const updates = Math.ceil(order.length / config.batch);
    if (updates === 0) {
      const metrics = { pairs: 0, progress: (round + 1) / config.rounds };
      yield* run.step(round + 1, config.rounds, metrics, meter.take());
    }
    for (let update = 0; update < updates; update++) {
      const places = order.slice(update * config.batch, (update + 1) * config.batch);
      const ratios: { win: number[]; lose: number[] } = { win: [], lose: [] };
      let loss = 0;
      for (let start = 0; start < places.length; start += config.microBatch) {
        scope(() => {
          const part = selectPairs(pairs, places.slice(start, start + config.microBatch));
          const batch = {
            ...denoisers,
            pairs: part,
            schedule: pipe.schedule,
            meter,
            ...config,
          };
          const result = spoBatchLoss(batch);
          const share = result.loss.mul(part.size / places.length);
          // In one piece: each reading waits for the device.
          const read = cat([share.reshape([1]), result.logRatioWin, result.logRatioLose]).toNumbers();
          const [win, lose] = [read.slice(1, 1 + part.size), read.slice(1 + part.size)];
          loss += read[0] as number;
          ratios.win.push(...win);
          ratios.lose.push(...lose);
          // Pairs with both sides outside the clip have no gradient at all: nothing to go back for.
          if (ratioFigures(win, lose, config.clip).withoutGradient < 1)
            backward(precision.scale(share), batch);
        });
      }
      // A gradient of zero is still a step: its moments fade.
      scope(() => {
        for (const parameter of policy.trained) parameter.grad ??= zerosLike(parameter);
      });
      const gradNorm = precision.clipGradNorm(policy.trained, config.maxGradNorm ?? Number.POSITIVE_INFINITY);
      if (Number.isFinite(loss) && Number.isFinite(gradNorm)) {
        const done = round + (update + 1) / updates;
        optimizer.lr = lr * (config.warmupRounds > 0 ? Math.min(1, done / config.warmupRounds) : 1);
        meter.phase("optimizer", () => optimizer.step());
        skipped = 0;
      } else if (precision.overflowed(loss, gradNorm)) {
        // Left out; `finish` lowers the scale and tells of it.
      } else if (++skipped === MOST_SKIPPED) {
        throw notFinite(skipped, `round ${round + 1}`);
      } else {
        yield* run.warn(`loss ${loss}, gradient norm ${gradNorm}: update skipped`);
      }
      optimizer.zeroGrad();
      const figures = ratioFigures(ratios.win, ratios.lose, config.clip);
      const metrics = {
        loss,
        gradNorm,
        pairs: places.length,
        ...figures,
        ...precision.finish(loss, gradNorm),
        progress: (round + (update + 1) / updates) / config.rounds,
      };
      yield* run.step(round + 1, config.rounds, metrics, meter.take());
    }
    policy.average(round);
    disposePairs(pairs);
    disposeConditions(conditions);
    if (standing && run.isDue(round + 1, sampleEvery, config.rounds))
      yield* showSamples(
        round + 1,
        policy.asResult(() => policy.sampling(() => standing("policy"))),
      );
    // After a step that was not finite, or a round without one score that is, the weights are in doubt: the checkpoints before it are kept.
    const sound = skipped === 0 && comparisons.some(({ finite }) => finite.includes(true));
    if (sound && (run.isDue(round + 1, config.saveEvery, config.rounds) || signal.aborted)) {
      yield* run.save(round + 1, (folder) => saveTrainingState(folder, state));
    }
    signal.throwIfAborted();
  }
  if (skipped > 0) throw notFinite(skipped, `round ${config.rounds}`);
  policy.save(config.output, {
    layout: config.loraLayout,
    description: { title: "SPO", resolution: [imageSize[1], imageSize[0]] },
    metadata: { "spo.method": "spo", "spo.settings": JSON.stringify(settingsOf(config)) },
  });
  yield* run.done({ output: config.output });

  function heldOutInput(): HeldOutInput {
    const { seed, steps } = config;
    // A control's scores say nothing of the samples.
    const judged =
      judge instanceof RandomJudge
        ? undefined
        : { judge, prepared: keep(noGrad(() => scope(() => judge.prepare(heldOut)))) };
    const conditions = keep(promptConditions(pipe, heldOut, imageSize)(heldOut.map((_, i) => i)));
    const { schedule } = pipe;
    return {
      ...policy.denoisers(conditions, config.guidanceScale),
      ...{ schedule, decode, judged, count: heldOut.length, latentShape, steps, seed, device },
    };
  }

  async function* showSamples(step: number, { images, metrics }: Standing): AsyncGenerator<RecipeEvent> {
    const folder = `samples/round-${String(step).padStart(6, "0")}`;
    const shown = [];
    for (const [i, prompt] of heldOut.entries()) {
      const { data, width, height } = scope(() => rgbFromPixels(images.narrow(0, i, 1)));
      const file = `${folder}/${i}.png`;
      writeFileAtomic(join(run.folder, file), await encodePng(data, width, height));
      shown.push({ file, prompt, seed: config.seed });
    }
    images.dispose();
    yield run.record({ type: "sample", step, images: shown });
    yield* run.eval(step, metrics);
  }
}

/** The judge of all prompts as one of those of a round. */
function ofPrompts(judge: StepAwareJudge, chosen: readonly number[]): StepAwareJudge {
  return {
    prepare: (prompts, meter) => judge.prepare(prompts, meter),
    score: (candidates, prepared, rows, meter) =>
      judge.score(
        candidates,
        prepared,
        rows.map((row) => chosen[row] as number),
        meter,
      ),
  };
}

/** Row numbers of a round's prompts: epoch by epoch in a new order, as a function of the seed and the round alone. */
function promptsAt(round: number, count: number, { seed, promptsPerRound }: TrainSpoConfig): number[] {
  return scope(() =>
    Array.from({ length: promptsPerRound }, (_, i) => {
      const place = round * promptsPerRound + i;
      const epoch = Math.floor(place / count);
      const order = randperm(count, { generator: generatorAt(seed, "epoch", epoch) }).toNumbers();
      return order[place % count] as number;
    }),
  );
}

/** Height and width of the latents. Throws a UserError (`CONFIG`) for a size or a model that cannot be. */
function latentSizeOf(pipe: TextToImage, { resolution }: TrainSpoConfig): readonly [number, number] {
  const side = trainingSide(pipe, resolution) / pipe.vae.factor;
  return resolution === null ? defaultLatentSize(pipe) : [side, side];
}

const imageSizeOf = ({ vae }: TextToImage, [height, width]: readonly [number, number]): [number, number] => [
  height * vae.factor,
  width * vae.factor,
];

/** The settings without the places on this machine: a LoRA is given away. */
function settingsOf(config: TrainSpoConfig): object {
  const places = ["model", "configs", "spm", "prompts", "heldOut", "output", "device"];
  const kept = Object.entries(config).filter(([key]) => !places.includes(key));
  return { ...Object.fromEntries(kept), judge: basename(config.judge) };
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
