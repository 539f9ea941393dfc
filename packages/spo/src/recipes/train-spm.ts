// Trains a step-aware preference model on preference pairs. Source: algorithm 3; Liang et al. 2024, section 3.2.
import { StableDiffusion } from "@spo/diffusion";
import {
  AdamW,
  cat,
  clipGradNorm,
  type Generator,
  keep,
  noGrad,
  rand,
  randint,
  randn,
  scope,
  type Tensor,
  tensor,
  warmupLinear,
} from "@spo/torch";
import { move, recolour } from "../data/augmentation.js";
import { type PreferencePairs, readPairs } from "../data/pairs.js";
import { type Denoiser, guidedDenoiser } from "../denoiser.js";
import { type ScoreProcessor, trainPixels } from "../preprocess.js";
import { loadSpm, type StepAwarePreferenceModel, saveSpm } from "../spm.js";
import { labelTensors, pairAccuracy, spmLoss } from "../spm-loss.js";
import { noisyPredictions } from "../spm-noising.js";
import { WorkMeter } from "../work.js";
import { MOST_SKIPPED, notFinite } from "./not-finite.js";
import { generatorAt } from "./randomness.js";
import type { RecipeContext, RecipeEvent } from "./recipe.js";
import type { TrainSpmConfig } from "./train-spm-config.js";
import { restoreTrainingState, saveTrainingState } from "./training-state.js";

/** Pairs as the preference model sees them. */
interface SeenPairs {
  /** uint8 [n, 3, h, w], decoded predictions. */
  image0: Tensor;
  image1: Tensor;
  /** int64 [n] */
  timesteps: Tensor;
  /** Rows of the pair set. */
  rows: number[];
}

/**
 * Both images of a pair are noised alike to a random step and denoised once by the base; the model learns which of the two people prefer.
 *
 * Yields step events, and eval events with the accuracy by timestep on the split `test`. Resumes from the run's newest checkpoint.
 */
export async function* trainSpm(
  config: TrainSpmConfig,
  { run, signal }: RecipeContext,
): AsyncGenerator<RecipeEvent> {
  const pairs = await readPairs(config.pairs, "train");
  const held = await readPairs(config.pairs, "test");
  const pipe = StableDiffusion.load(config.model);
  const { spm, processor } = loadSpm(config.init);
  const tokenizer = pipe.tokenizer;
  const meter = new WorkMeter();
  const forPairs = (set: PreferencePairs) => {
    const captions = [...new Set(set.captions)];
    return keep(
      noGrad(() =>
        scope(() => ({
          ids: tokenizer.encodeBatch(set.captions),
          captions,
          context: pipe.encodePrompts(captions),
          empty: pipe.encodePrompts([""]),
          captionOf: set.captions.map((caption) => captions.indexOf(caption)),
        })),
      ),
    );
  };
  const texts = forPairs(pairs);
  const heldTexts = forPairs(held);
  const denoiserOf = ({ context, empty }: { context: Tensor; empty: Tensor }): Denoiser =>
    guidedDenoiser({
      unet: pipe.unet,
      conditional: { context },
      unconditional: { context: empty },
      guidanceScale: config.guidanceScale,
    });
  /** Draws pairs, noises them, denoises them once. */
  const see = (
    set: PreferencePairs,
    text: ReturnType<typeof forPairs>,
    rows: readonly number[],
    timesteps: readonly number[],
    generator: Generator,
    counted?: WorkMeter,
  ): SeenPairs =>
    noGrad(() =>
      scope(() => {
        const index = tensor([...rows], { dtype: "int64" });
        const [image0, image1] = [set.image0.indexSelect(0, index), set.image1.indexSelect(0, index)];
        const shape = [
          rows.length,
          pipe.unet.config.in_channels,
          (image0.shape[2] as number) / pipe.vae.factor,
          (image0.shape[3] as number) / pipe.vae.factor,
        ];
        const draw = (): Tensor => randn(shape, { generator });
        const { x0 } = noisyPredictions(
          { vae: pipe.vae, denoiser: denoiserOf(text), schedule: pipe.schedule },
          {
            image0,
            image1,
            posteriorNoise0: draw(),
            posteriorNoise1: draw(),
            noise: draw(),
            timesteps,
            rows: rows.map((row) => text.captionOf[row] as number),
          },
          counted,
        );
        counted?.count("vaeDecode", 2 * rows.length);
        const decoded = pipe.vae.decodeLatents(x0);
        const clean = tensor(
          timesteps.map((t) => Number(t === 0)),
          { shape: [rows.length, 1, 1, 1] },
        );
        const mix = (noisy: Tensor, image: Tensor): Tensor => toBytes(noisy.lerp(image, clean));
        const [noisy0, noisy1] = decoded.chunk(2) as [Tensor, Tensor];
        return {
          image0: mix(noisy0, image0),
          image1: mix(noisy1, image1),
          timesteps: tensor([...timesteps], { dtype: "int64" }),
          rows: [...rows],
        };
      }),
    );
  /** Random pairs at random timesteps. */
  const drawSeen = (count: number, generator: Generator): SeenPairs => {
    const rows = randint(0, pairs.captions.length, [count], { generator }).toNumbers();
    const clean = rand([count], { generator }).lt(config.cleanShare).toNumbers();
    const timesteps = randint(0, config.maxTimestep + 1, [count], { generator })
      .toNumbers()
      .map((t, i) => (clean[i] ? 0 : t));
    return see(pairs, texts, rows, timesteps, generator, meter);
  };

  const bank: SeenPairs[] = [];
  for (let drawn = 0; drawn < config.bank; drawn += config.batch) {
    bank.push(keep(scope(() => drawSeen(config.batch, generatorAt(config.seed, "bank", drawn)))));
    yield* run.phase("noised pairs", Math.min(drawn + config.batch, config.bank), config.bank);
    signal.throwIfAborted();
  }
  const heldSeen = config.evalTimesteps.map((t) => {
    const chunks: SeenPairs[] = [];
    for (let start = 0; start < held.captions.length; start += 32) {
      const rows = Array.from({ length: Math.min(32, held.captions.length - start) }, (_, i) => start + i);
      chunks.push(
        keep(
          see(
            held,
            heldTexts,
            rows,
            rows.map(() => t),
            generatorAt(config.seed, "eval", t, start),
          ),
        ),
      );
    }
    return { t, chunks };
  });
  const evaluate = (): Record<string, number> =>
    Object.fromEntries(
      heldSeen.map(({ t, chunks }) => {
        const scores = chunks.map((chunk) => pairScores(spm, processor, chunk, heldTexts.ids));
        const side = (which: 0 | 1): number[] => scores.flatMap((s) => s[which]);
        return [`accuracy/t=${t}`, pairAccuracy(side(0), side(1), held.label0)];
      }),
    );

  spm.requiresGrad_();
  const parameters = spm.parameters();
  const { lr, ...rest } = config.optimizer;
  const optimizer = new AdamW(parameters, { lr, ...rest });
  const state = { modules: { spm }, optimizer };
  let skipped = 0;
  let step = run.resume((folder) => restoreTrainingState(folder, state));
  if (step === 0) yield* run.eval(0, evaluate());
  else meter.take(); // what was computed before the first step has been counted when the run began
  for (; step < config.steps; step++) {
    const metrics = scope(() => {
      const generator = generatorAt(config.seed, "step", step);
      const seen =
        bank.length > 0 ? pickSeen(bank, config.batch, generator) : drawSeen(config.batch, generator);
      const [pixels0, pixels1] = noGrad(() =>
        augmentBoth(seen, config, step).map((x) => trainPixels(x, processor)),
      ) as [Tensor, Tensor];
      const images = spm.imageFeatures(cat([pixels0, pixels1]), cat([seen.timesteps, seen.timesteps]));
      const captions = [...new Set(seen.rows.map((row) => texts.captionOf[row] as number))];
      const firstRow = captions.map((caption) => texts.captionOf.indexOf(caption));
      const features = spm.textFeatures(texts.ids.indexSelect(0, tensor(firstRow, { dtype: "int64" })));
      const place = tensor(
        seen.rows.map((row) => captions.indexOf(texts.captionOf[row] as number)),
        { dtype: "int64" },
      );
      const text = features.indexSelect(0, place);
      const [score0, score1] = spm.scores(images, cat([text, text])).chunk(2) as [Tensor, Tensor];
      meter.count("judgeImage", 2 * seen.rows.length);
      meter.count("judgeBackward", 2 * seen.rows.length);
      meter.count("judgeText", captions.length);
      const labels = seen.rows.map((row) => pairs.label0[row] as number);
      const { loss } = spmLoss({
        score0,
        score1,
        ...labelTensors(
          labels,
          seen.rows.map((row) => pairs.examples[row] as number),
        ),
      });
      loss.backward();
      return {
        loss: loss.item(),
        accuracy: pairAccuracy(score0.toNumbers(), score1.toNumbers(), labels),
        scale: spm.logit_scale.exp().item(),
        gradNorm: clipGradNorm(parameters, config.maxGradNorm),
      };
    });
    if (Number.isFinite(metrics.loss) && Number.isFinite(metrics.gradNorm)) {
      optimizer.lr = lr * warmupLinear(step, { warmup: config.warmup, total: config.steps });
      optimizer.step();
      skipped = 0;
    } else if (++skipped === MOST_SKIPPED) {
      throw notFinite(skipped, `step ${step + 1}`);
    }
    optimizer.zeroGrad();
    yield* run.step(step + 1, config.steps, metrics, meter.take());
    if (run.isDue(step + 1, config.evalEvery, config.steps)) yield* run.eval(step + 1, evaluate());
    // After a step that was not finite the weights are in doubt: the checkpoints before it are kept.
    if (skipped === 0 && (run.isDue(step + 1, config.saveEvery, config.steps) || signal.aborted)) {
      yield* run.save(step + 1, (folder) => saveTrainingState(folder, state));
    }
    signal.throwIfAborted();
  }
  if (skipped > 0) throw notFinite(skipped, `step ${config.steps}`);
  saveSpm(config.output, spm, processor);
  yield* run.done({ output: config.output, ...evaluate() });
}

const toBytes = (pixels: Tensor): Tensor =>
  scope(() => pixels.clamp(-1, 1).add(1).mul(127.5).round().to({ dtype: "uint8" }));
const fromBytes = (bytes: Tensor): Tensor => scope(() => bytes.to({ dtype: "float32" }).div(127.5).sub(1));

/** Pairs from the bank, at random. */
function pickSeen(bank: readonly SeenPairs[], count: number, generator: Generator): SeenPairs {
  return scope(() => {
    const size = (bank[0] as SeenPairs).rows.length;
    const places = randint(0, bank.length * size, [count], { generator }).toNumbers();
    const part = (of: (seen: SeenPairs) => Tensor): Tensor =>
      cat(places.map((place) => of(bank[Math.floor(place / size)] as SeenPairs).narrow(0, place % size, 1)));
    return {
      image0: part((seen) => seen.image0),
      image1: part((seen) => seen.image1),
      timesteps: part((seen) => seen.timesteps),
      rows: places.map((place) => (bank[Math.floor(place / size)] as SeenPairs).rows[place % size] as number),
    };
  });
}

/**
 * The same random place and size for both images of a pair; colours and noise of their own, so that neither being paler nor being
 * stronger is a reason to be preferred.
 */
function augmentBoth(
  { image0, image1 }: SeenPairs,
  { augmentation, pixelNoise, seed }: TrainSpmConfig,
  step: number,
): Tensor[] {
  return scope(() => {
    const generator = generatorAt(seed, "noise", step);
    return [image0, image1].map((bytes, side) => {
      let x = fromBytes(bytes);
      if (augmentation) {
        x = move(x, generatorAt(seed, "move", step), augmentation); // alike for either side
        x = recolour(x, generatorAt(seed, "recolour", step, side), augmentation.colour);
      }
      if (pixelNoise === 0) return x;
      const spread = rand([x.shape[0] as number, 1, 1, 1], { generator }).mul(pixelNoise);
      return x.add(randn(x.shape, { generator }).mul(spread));
    });
  });
}

/** Scores of both sides of every pair. */
function pairScores(
  spm: StepAwarePreferenceModel,
  processor: ScoreProcessor,
  seen: SeenPairs,
  ids: Tensor,
): [number[], number[]] {
  return noGrad(() =>
    scope(() => {
      const text = spm.textFeatures(ids.indexSelect(0, tensor(seen.rows, { dtype: "int64" })));
      const score = (bytes: Tensor): number[] =>
        spm
          .scores(spm.imageFeatures(trainPixels(fromBytes(bytes), processor), seen.timesteps), text)
          .toNumbers();
      return [score(seen.image0), score(seen.image1)] as [number[], number[]];
    }),
  );
}
