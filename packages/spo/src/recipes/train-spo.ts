// Step-aware preference optimisation. Source: algorithms 4 and 5; Liang et al. 2024, section 3.3 and 3.4.
import { join } from "node:path";
import { addLora, type Lora, StableDiffusion, saveLora, UNet2DConditionModel } from "@spo/diffusion";
import {
  AdamW,
  clipGradNorm,
  copyWeights,
  keep,
  noGrad,
  randn,
  randperm,
  scope,
  type Tensor,
  tensor,
  writeFileAtomic,
} from "@spo/torch";
import { encodePng, rgbFromPixels } from "../data/pixels.js";
import { readPrompts } from "../data/prompts.js";
import { type Denoiser, guidedDenoiser } from "../denoiser.js";
import { type Candidates, SpmJudge, type StepAwareJudge } from "../judge.js";
import { type StepPairs, selectPairs } from "../pairs.js";
import { type CandidateStrip, drawn, resample, type StepComparison } from "../resampler.js";
import { loadSpm } from "../spm.js";
import { backward, ratioFigures, spoBatchLoss } from "../spo-loss.js";
import { WorkMeter } from "../work.js";
import { MOST_SKIPPED, notFinite } from "./not-finite.js";
import { generatorAt } from "./randomness.js";
import type { RecipeContext, RecipeEvent } from "./recipe.js";
import type { TrainSpoConfig } from "./train-spo-config.js";
import { restoreTrainingState, saveTrainingState } from "./training-state.js";

/** A control: scores that know nothing. Pictures, times and prompts are as with a real judge. */
class RandomJudge implements StepAwareJudge<null> {
  readonly #draw: (n: number) => Tensor;

  constructor(draw: (n: number) => Tensor) {
    this.#draw = draw;
  }

  prepare(): null {
    return null;
  }

  score(_: Candidates, __: null, rows: readonly number[]): Tensor {
    return this.#draw(rows.length);
  }
}

/** The policy and the base that it must not leave. */
interface Policy {
  trained: Tensor[];
  module: { namedParameters(): Map<string, Tensor> };
  denoiser: (context: Tensor, empty: Tensor) => { policy: Denoiser; reference: Denoiser };
  /** Samples with the policy as cheaply as may be. */
  sampling: <T>(fn: () => T) => T;
  save: (folder: string) => void;
}

/**
 * Rounds of: sample pools of candidates, take win-lose pairs, update on the pairs.
 *
 * Yields a step event for every update and a comparisons event for every round; resumes from the newest checkpoint, at a round's end.
 */
export async function* trainSpo(
  config: TrainSpoConfig,
  { run, signal }: RecipeContext,
): AsyncGenerator<RecipeEvent> {
  const prompts = readPrompts(config.prompts);
  const pipe = StableDiffusion.load(config.model);
  const { spm, processor } = loadSpm(config.spm);
  const { contexts, empty } = keep(
    noGrad(() => scope(() => ({ contexts: pipe.encodePrompts(prompts), empty: pipe.encodePrompts([""]) }))),
  );
  const policy = config.adapter === "lora" ? loraPolicy(pipe, config) : fullPolicy(pipe, config);
  const spmJudge = new SpmJudge(spm, processor, (texts) => pipe.tokenizer.encodeBatch(texts));
  const meter = new WorkMeter();
  const features = keep(noGrad(() => spmJudge.prepare(prompts, meter)));

  const { lr, ...rest } = config.optimizer;
  const optimizer = new AdamW(policy.trained, { lr, ...rest });
  const state = { modules: { policy: policy.module }, optimizer };
  let skipped = 0;
  let round = run.resume((folder) => restoreTrainingState(folder, state));
  if (round > 0) meter.take(); // the text features have been counted when the run began

  for (; round < config.rounds; round++) {
    const generator = generatorAt(config.seed, "round", round);
    const chosen = promptsAt(round, prompts.length, config);
    const denoisers = policy.denoiser(contexts, empty);
    const rowsOf = (denoiser: Denoiser): Denoiser => ({
      ...denoiser,
      forRows: (rows) => denoiser.forRows(rows.map((row) => chosen[row] as number)),
    });
    const policyOfRound = rowsOf(denoisers.policy);
    const referenceOfRound = rowsOf(denoisers.reference);
    const withStrip = round % config.stripEvery === 0 || round === config.rounds - 1;

    const { pairs, comparisons, strips } = policy.sampling(() =>
      noGrad(() =>
        scope(() => {
          const size = latentSize(pipe);
          const { latents: _, ...kept } = resample({
            denoiser: policyOfRound,
            schedule: pipe.schedule,
            decode: (latents) => pipe.vae.decodeLatents(latents),
            ...judgeOf(round, chosen),
            initialLatents: randn([chosen.length, pipe.unet.config.in_channels, ...size], { generator }),
            randomness: drawn(generator),
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
        join(run.folder, "strips", `round-${String(round).padStart(6, "0")}.json`),
        strips,
        chosen.map((row) => prompts[row] as string),
      );
    for (const strip of strips) strip.images.dispose();
    yield run.record({ type: "comparisons", step: round + 1, timesteps: summarise(comparisons) });

    const order = scope(() => randperm(pairs.size, { generator }).toNumbers());
    const updates = Math.ceil(order.length / config.batch);
    if (order.length === 0)
      yield run.record({ type: "warn", message: noPairs(comparisons, config.threshold) });
    for (let update = 0; update < updates; update++) {
      const places = order.slice(update * config.batch, (update + 1) * config.batch);
      const ratios: { win: number[]; lose: number[] } = { win: [], lose: [] };
      let loss = 0;
      for (let start = 0; start < places.length; start += config.microBatch) {
        scope(() => {
          const part = selectPairs(pairs, places.slice(start, start + config.microBatch));
          const batch = {
            policy: policyOfRound,
            reference: referenceOfRound,
            pairs: part,
            schedule: pipe.schedule,
            meter,
            ...config,
          };
          const result = spoBatchLoss(batch);
          const share = result.loss.mul(part.size / places.length);
          loss += share.item();
          ratios.win.push(...result.logRatioWin.detach().toNumbers());
          ratios.lose.push(...result.logRatioLose.detach().toNumbers());
          backward(share, batch);
        });
      }
      const gradNorm = clipGradNorm(policy.trained, config.maxGradNorm ?? Number.POSITIVE_INFINITY);
      if (Number.isFinite(loss) && Number.isFinite(gradNorm)) {
        const done = round + (update + 1) / updates;
        optimizer.lr = lr * (config.warmupRounds > 0 ? Math.min(1, done / config.warmupRounds) : 1);
        meter.phase("optimizer", () => optimizer.step());
        skipped = 0;
      } else if (++skipped === MOST_SKIPPED) {
        throw notFinite(skipped, `round ${round + 1}`);
      } else {
        yield run.record({
          type: "warn",
          message: `loss ${loss}, gradient norm ${gradNorm}: update skipped`,
        });
      }
      optimizer.zeroGrad();
      const figures = ratioFigures(ratios.win, ratios.lose, config.clip);
      const metrics = {
        loss,
        gradNorm,
        pairs: places.length,
        ...figures,
        progress: (round + (update + 1) / updates) / config.rounds,
      };
      yield* run.step(round + 1, config.rounds, metrics, meter.take());
    }
    disposePairs(pairs);
    // After a step that was not finite the weights are in doubt: the checkpoints before it are kept.
    if (skipped === 0 && (run.isDue(round + 1, config.saveEvery, config.rounds) || signal.aborted)) {
      yield* run.save(round + 1, (folder) => saveTrainingState(folder, state));
    }
    signal.throwIfAborted();
  }
  if (skipped > 0) throw notFinite(skipped, `round ${config.rounds}`);
  policy.save(config.output);
  yield* run.done({ output: config.output });

  function judgeOf(
    round: number,
    chosen: readonly number[],
  ): { judge: StepAwareJudge<unknown>; prepared: unknown } {
    if (config.judge === "random") {
      const generator = generatorAt(config.seed, "random judge", round);
      return { judge: new RandomJudge((n) => randn([n], { generator })), prepared: null };
    }
    const prepared = features.indexSelect(0, tensor([...chosen], { dtype: "int64" }));
    return { judge: spmJudge as StepAwareJudge<unknown>, prepared };
  }
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

function latentSize(pipe: StableDiffusion): readonly [number, number] {
  const size = pipe.unet.config.sample_size ?? 64;
  return typeof size === "number" ? [size, size] : (size as [number, number]);
}

function loraPolicy(pipe: StableDiffusion, config: TrainSpoConfig): Policy {
  const lora: Lora = addLora(pipe.unet, { rank: config.rank }, generatorAt(config.seed, "lora"));
  return {
    trained: lora.parameters(),
    module: lora,
    denoiser: (context, empty) => {
      const shared = {
        unet: pipe.unet,
        conditional: { context },
        unconditional: { context: empty },
        guidanceScale: config.guidanceScale,
      };
      return {
        policy: guidedDenoiser(shared),
        reference: guidedDenoiser({ ...shared, around: (call) => lora.without(call) }),
      };
    },
    sampling: (fn) => lora.merged(fn),
    save: (folder) =>
      saveLora(join(folder, "pytorch_lora_weights.safetensors"), lora, pipe.unet, { layout: "diffusers" }),
  };
}

function fullPolicy(pipe: StableDiffusion, config: TrainSpoConfig): Policy {
  const reference = new UNet2DConditionModel(pipe.unet.config);
  copyWeights(pipe.unet, reference);
  pipe.unet.requiresGrad_();
  return {
    trained: pipe.unet.parameters(),
    module: pipe.unet,
    denoiser: (context, empty) => {
      const shared = {
        conditional: { context },
        unconditional: { context: empty },
        guidanceScale: config.guidanceScale,
      };
      return {
        policy: guidedDenoiser({ unet: pipe.unet, ...shared }),
        reference: guidedDenoiser({ unet: reference, ...shared }),
      };
    },
    sampling: (fn) => fn(),
    save: (folder) => pipe.save(folder, { dtype: "float16" }),
  };
}

function disposePairs({ latentsWin, latentsLose, nextWin, nextLose }: StepPairs): void {
  for (const tensor of [latentsWin, latentsLose, nextWin, nextLose]) tensor.dispose();
}

/** By timestep: how many comparisons there were, how many gave a pair, and the mean margin. */
function summarise(
  comparisons: readonly StepComparison[],
): { timestep: number; pairs: number; valid: number; margin: number }[] {
  return comparisons.map(({ timestep, margin, valid }) => ({
    timestep,
    pairs: valid.length,
    valid: valid.filter(Boolean).length,
    margin: margin.reduce((a, b) => a + b, 0) / margin.length,
  }));
}

function noPairs(comparisons: readonly StepComparison[], threshold: number): string {
  const margins = comparisons.flatMap(({ margin }) => margin);
  const largest = Math.max(...margins);
  return `no pair above the threshold ${threshold}; the largest preference gap was ${largest.toFixed(3)}: lower threshold below it`;
}

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
      encoded.push(Buffer.from(await encodePng(data, width, height)).toString("base64"));
    }
    shown.push({ ...strip, prompt: prompts[prompt] as string, images: encoded });
  }
  writeFileAtomic(path, JSON.stringify(shown));
}
