// Samples of prompts that are held out, at moments of a training: drawn, written as images, compared with the base.
import { join } from "node:path";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import type { NoiseProcess, TextToImage } from "@spo/diffusion";
import type { Run } from "@spo/records";
import { type Device, keep, noGrad, scope, type Tensor, writeFileAtomic } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import type { StepAwareJudge } from "../../judges/judge.js";
import { RandomJudge } from "../../judges/random-judge.js";
import type { RecipeEvent, TellPhase } from "../recipe.js";
import { timesDueAfter } from "./due.js";
import { heldOutSamples } from "./held-out-samples.js";
import type { HeldOutScorer } from "./held-out-scorers.js";
import type { Policy } from "./policy.js";
import type { PromptCache } from "./prompt-cache.js";
import { encodePlaces, promptConditions } from "./prompt-conditions.js";

/** What held-out prompts are sampled with. */
export interface HeldOutPromptsInput {
  prompts: readonly string[];
  pipe: TextToImage;
  /** Of their encodings. */
  cache?: PromptCache;
  policy: Policy;
  process: NoiseProcess;
  /** What trains, whose scores of the samples are told; absent where nothing that scores does. */
  judge?: StepAwareJudge;
  /** Scorers that train nothing. */
  heldOutScorers: readonly HeldOutScorer[];
  imagesPerPrompt: number;
  decode: (latents: Tensor) => Tensor;
  /** [c, h, w] */
  latentShape: readonly number[];
  /** Height and width in pixels. */
  imageSize: readonly [number, number];
  guidanceScale: number;
  steps: number;
  seed: number;
  device: Device;
  /** Rounds or steps between two measurements, and all of the training. */
  every: number;
  total: number;
  unit: "round" | "step";
  tell: TellPhase;
  /** The processes that all draw them. */
  world: World;
}

/** Draws, measures and records the held-out samples after a step. */
export type ShowHeldOut = (
  run: Run,
  step: number,
  which: "policy" | "reference",
  options?: { more?: Record<string, number>; asked?: boolean },
) => AsyncGenerator<RecipeEvent>;

/**
 * Draws the samples of the base at once; the function records those of the base or of the policy after a step.
 *
 * more: further figures of the measurement. asked: by somebody who watches; then nothing is measured, so that a guard decides the same
 * whether or not somebody watches.
 */
export function heldOutPrompts(input: HeldOutPromptsInput): ShowHeldOut {
  const { prompts, policy, judge, imageSize, guidanceScale, every, total, unit, tell, pipe, seed, world } =
    input;
  const { process, decode, latentShape, steps, device, heldOutScorers, imagesPerPrompt } = input;
  let sampledAfter = 0; // the step after which the samples at work are drawn
  // Random scores say nothing about the samples.
  const scorer =
    judge === undefined || judge instanceof RandomJudge ? undefined : noGrad(() => judge.prepare(prompts));
  const conditions = policy.withBaseTexts(() =>
    keep(promptConditions(pipe, prompts, imageSize, input.cache)(prompts.map((_, i) => i))),
  );
  const encode = encodePlaces(pipe, prompts, imageSize);
  const sample = heldOutSamples({
    ...policy.denoisers(conditions, guidanceScale, encode),
    ...{ process, decode, scorer, count: prompts.length, latentShape, steps, seed, device },
    ...{ heldOutScorers, imagesPerPrompt },
    onStep: (done, of) =>
      tell("drawing held-out samples", { done, total: of, left: timesDueAfter(sampledAfter, every, total) }),
  });
  return async function* show(run, step, which, { more = {}, asked = false } = {}) {
    sampledAfter = step;
    const { images, scores, metrics } =
      which === "reference"
        ? sample("reference")
        : policy.withEmaWeights(() => policy.withMergedAdapter(() => sample("policy")));
    const folder = `samples/${unit}-${String(step).padStart(6, "0")}`;
    const shown = [];
    for (const [i, prompt] of prompts.entries()) {
      const name = `The held-out sample for ${JSON.stringify(prompt)} after ${unit} ${step}`;
      const { data, width, height } = scope(() => rgbFromPixels(images.narrow(0, i, 1), name));
      const file = `${folder}/${i}.png`;
      if (run.writes) writeFileAtomic(join(run.folder, file), await encodePng(data, width, height));
      const score = scores?.[i];
      shown.push({ file, prompt, seed, ...(Number.isFinite(score) && { score }) });
    }
    images.dispose();
    yield run.record({ type: "sample", step, images: shown, ...(asked && { asked }) });
    if (asked) return;
    // What a guard decides by must be the same in every process.
    const [shared] = (await world.gather(metrics)) as [typeof metrics];
    yield* run.eval(step, { ...shared, ...more });
  };
}

/** Samples that somebody who watches the run has asked for; without held-out samples a warning says so. */
export async function* drawAsked(run: Run, step: number, show?: ShowHeldOut): AsyncGenerator<RecipeEvent> {
  if (show) yield* show(run, step, "policy", { asked: true });
  else yield* run.warn(`samples were asked for at ${step}, and this training draws none`);
}
