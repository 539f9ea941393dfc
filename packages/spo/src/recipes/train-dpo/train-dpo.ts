// Diffusion-DPO: the policy is to predict the noise on winners better, and on losers worse, than the reference does. Source: algorithm 6;
// Wallace et al. 2024, algorithm 1.
import { type Conditions, loadTextToImage } from "@spo/diffusion";
import {
  Adafactor,
  AdamW,
  cat,
  type Device,
  noGrad,
  type Optimizer,
  rand,
  randint,
  randn,
  resolveDevice,
  scope,
  type Tensor,
  tensor,
  warmupConstant,
} from "@spo/torch";
import { openPairSet, type PairBatch, PairLoader } from "../../data/index.js";
import { pixelsFromBytes } from "../../data/pixels.js";
import { dpoLoss } from "../../losses/dpo-loss.js";
import { generatorAt } from "../../randomness.js";
import { WorkMeter } from "../../work.js";
import type { RecipeContext, RecipeEvent } from "../recipe.js";
import { MOST_SKIPPED, notFinite } from "../training/not-finite.js";
import { makePolicy } from "../training/policy.js";
import { Precision, weightsDtype } from "../training/precision.js";
import { trainingSide } from "../training/training-side.js";
import { restoreTrainingState, saveTrainingState } from "../training/training-state.js";
import type { TrainDpoConfig } from "./train-dpo-config.js";

/** Pairs as the loss needs them: winners in the first half. */
interface NoisyPairs {
  /** [2n, c, h, w] */
  noisy: Tensor;
  noise: Tensor;
  /** int64 [2n] */
  timesteps: Tensor;
  /** What the UNet is told of the n pairs' prompts. */
  conditions: Conditions;
}

/**
 * Reads preference pairs as a stream, so that the set may be of any size; what stands at a position, and all that is drawn for it, depends
 * on the seed and the position alone. Resumes from the run's newest checkpoint.
 */
export async function* trainDpo(
  config: TrainDpoConfig,
  { run, signal }: RecipeContext,
): AsyncGenerator<RecipeEvent> {
  const device = resolveDevice(config.device);
  const pipe = loadTextToImage(config.model, { device, dtype: weightsDtype(config) });
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

  const reading = { side, kernel: "bilinear", aheadBytes: config.readAhead << 20 } as const;
  const opening = { dropTies: true, allowOutside: config.allowOutside } as const;
  const set = await openPairSet(config.pairs, { ...opening, split: config.split });
  const loader = new PairLoader(set, { seed: config.seed, mirror: config.mirror, ...reading });
  const held = config.evalPairs > 0 ? await readHeld() : [];

  try {
    let skipped = 0;
    let step = run.resume((folder) => restoreTrainingState(folder, state));
    if (step === 0 && held.length > 0) yield* run.eval(0, evaluate());
    for (; step < config.steps; step++) {
      let [loss, accuracy] = [0, 0];
      for (let start = 0; start < config.batch; start += config.microBatch) {
        const first = step * config.batch + start;
        const batch = await loader.read(first, Math.min(config.microBatch, config.batch - start));
        scope(() => {
          const share = batch.prompts.length / config.batch;
          const result = lossOf(prepare(batch, first, config.emptyPrompts));
          meter.count("unetBackward", result.samples);
          meter.phase("backward", () => precision.scale(result.loss.mul(share)).backward());
          // After backward has been started: reading waits for the device.
          loss += share * result.loss.item();
          accuracy += share * result.accuracy;
        });
      }
      const gradNorm = precision.clipGradNorm(policy.trained, config.maxGradNorm);
      if (Number.isFinite(loss) && Number.isFinite(gradNorm)) {
        optimizer.lr = lr * warmupConstant(step, config);
        meter.phase("optimizer", () => optimizer.step());
        skipped = 0;
      } else if (precision.overflowed(loss, gradNorm)) {
        // Left out; `finish` lowers the scale and tells of it.
      } else if (++skipped === MOST_SKIPPED) {
        throw notFinite(skipped, `step ${step + 1}`);
      } else {
        yield* run.warn(`loss ${loss}, gradient norm ${gradNorm}: update skipped`);
      }
      optimizer.zeroGrad();
      policy.average(step);
      const scaling = precision.finish(loss, gradNorm);
      const metrics = { loss, ...(config.objective === "dpo" ? { accuracy } : {}), gradNorm, ...scaling };
      yield* run.step(step + 1, config.steps, metrics, meter.take());
      if (held.length > 0 && run.isDue(step + 1, config.evalEvery, config.steps))
        yield* run.eval(step + 1, policy.asResult(evaluate));
      // After a step that was not finite the weights are in doubt: the checkpoints before it are kept.
      if (skipped === 0 && (run.isDue(step + 1, config.saveEvery, config.steps) || signal.aborted))
        yield* run.save(step + 1, (folder) => saveTrainingState(folder, state));
      signal.throwIfAborted();
    }
    if (skipped > 0) throw notFinite(skipped, `step ${config.steps}`);
  } finally {
    await loader.close();
    await set.close();
  }
  policy.save(config.output, { layout: "diffusers" });
  yield* run.done({ output: config.output });

  /** Latents, noise, times and prompts of the pairs at positions first, first + 1, …; all drawn pair by pair. */
  function prepare(batch: PairBatch, first: number | string, emptyPrompts: number): NoisyPairs {
    return noGrad(() =>
      scope(() => {
        const shape = [1, pipe.unet.config.in_channels, side / pipe.vae.factor, side / pipe.vae.factor];
        const drawn = batch.prompts.map((prompt, i) => {
          const at = typeof first === "number" ? first + i : `${first}/${i}`;
          const generator = generatorAt(config.seed, "pair", at);
          return {
            timestep: randint(0, 1000, [1], { generator }),
            prompt: rand([1], { generator }).item() < emptyPrompts ? "" : prompt,
            noise: randn(shape, { generator }),
            posteriorWin: randn(shape, { generator }),
            posteriorLose: randn(shape, { generator }),
          };
        });
        const gather = (of: (pair: (typeof drawn)[number]) => Tensor): Tensor =>
          cat(drawn.map(of)).to({ device });
        const [win, lose] = sidesOf(batch, device);
        meter.count("vaeEncode", 2 * drawn.length);
        const latents = meter.phase("encode", () =>
          pipe.vae.toLatents(
            cat([win, lose]),
            cat([gather((pair) => pair.posteriorWin), gather((pair) => pair.posteriorLose)]),
          ),
        );
        const [one, time] = [gather((pair) => pair.noise), gather((pair) => pair.timestep)];
        const [noise, timesteps] = [cat([one, one]), cat([time, time])];
        return {
          noise,
          timesteps,
          noisy: pipe.schedule.addNoise(latents, noise, timesteps),
          conditions: meter.phase("text", () => {
            const prompts = drawn.map(({ prompt }) => prompt);
            return pipe.encode(prompts, { size: [side, side] }).conditional;
          }),
        };
      }),
    );
  }

  function lossOf(pairs: NoisyPairs): { loss: Tensor; accuracy: number; samples: number } {
    // Without guidance: training predicts the noise for the prompt alone.
    const sides = { conditional: pairs.conditions, unconditional: pairs.conditions };
    const { policy: learning, reference: frozen } = policy.denoisers(sides, 1);
    const count = (pairs.noise.shape[0] as number) / 2;
    const rows = [...Array(count).keys()];
    if (config.objective === "sft") {
      const half = (both: Tensor): Tensor => both.narrow(0, 0, count);
      meter.count("unetPolicy", count);
      const eps = meter.phase("policy", () =>
        learning.forRows(rows)(half(pairs.noisy), half(pairs.timesteps)),
      );
      return { loss: eps.sub(half(pairs.noise)).square().mean(), accuracy: 0, samples: count };
    }
    const both = [...rows, ...rows];
    meter.count("unetPolicy", both.length);
    const model = meter.phase("policy", () => learning.forRows(both)(pairs.noisy, pairs.timesteps));
    meter.count("unetReference", both.length);
    const reference = meter.phase("reference", () =>
      noGrad(() => frozen.forRows(both)(pairs.noisy, pairs.timesteps)),
    );
    const result = dpoLoss({ model, reference, noise: pairs.noise, beta: config.beta });
    return {
      loss: result.loss,
      get accuracy() {
        return result.accuracy; // waits for the device
      },
      samples: both.length,
    };
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

  /** On held-out pairs, with the same noise each time. */
  function evaluate(): Record<string, number> {
    let [loss, accuracy, count] = [0, 0, 0];
    for (const [b, batch] of held.entries()) {
      noGrad(() =>
        scope(() => {
          const result = lossOf(prepare(batch, `eval/${b}`, 0));
          const pairs = batch.prompts.length;
          loss += pairs * result.loss.item();
          accuracy += pairs * result.accuracy;
          count += pairs;
        }),
      );
    }
    meter.take(); // measuring is no part of the training's work
    return { loss: loss / count, ...(config.objective === "dpo" ? { accuracy: accuracy / count } : {}) };
  }
}

/** Pixels of winners and of losers, [n, 3, side, side] in [−1, 1] each. */
function sidesOf({ image0, image1, label0, label1, side }: PairBatch, device: Device): [Tensor, Tensor] {
  const [first, second] = [
    pixelsFromBytes(image0, side, { device }),
    pixelsFromBytes(image1, side, { device }),
  ];
  const firstWins = tensor(
    label0.map((label, i) => Number(label > (label1[i] as number))),
    { shape: [label0.length, 1, 1, 1], device },
  );
  return [second.lerp(first, firstWins), first.lerp(second, firstWins)];
}
