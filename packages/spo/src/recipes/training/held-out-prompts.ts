// Samples of prompts that are held out, at moments of a training: drawn, written as images, compared with the base.
import { join } from "node:path";
import { encodePng, rgbFromPixels } from "@spo/data/pixels";
import type { NoiseProcess, TextToImage } from "@spo/diffusion";
import type { Run } from "@spo/records";
import { type Device, keep, noGrad, scope, type Tensor, writeFileAtomic } from "@spo/torch";
import type { StepAwareJudge } from "../../judges/judge.js";
import { RandomJudge } from "../../judges/random-judge.js";
import type { RecipeEvent, TellPhase } from "../recipe.js";
import { timesDueAfter } from "../training/due.js";
import { heldOutSamples } from "../training/held-out-samples.js";
import type { Policy } from "../training/policy.js";
import { promptConditions } from "../training/prompt-conditions.js";

/** What held-out prompts are sampled with. */
export interface HeldOutPromptsInput {
  prompts: readonly string[];
  pipe: TextToImage;
  policy: Policy;
  process: NoiseProcess;
  judge: StepAwareJudge;
  decode: (latents: Tensor) => Tensor;
  /** [c, h, w] */
  latentShape: readonly number[];
  /** Height and width in pixels. */
  imageSize: readonly [number, number];
  guidanceScale: number;
  steps: number;
  seed: number;
  device: Device;
  /** Rounds between two measurements, and rounds of the training. */
  every: number;
  rounds: number;
  tell: TellPhase;
}

/** Draws the samples of the base at once; the function records those of the base or of the policy after a round. */
export function heldOutPrompts(
  input: HeldOutPromptsInput,
): (run: Run, round: number, which: "policy" | "reference") => AsyncGenerator<RecipeEvent> {
  const { prompts, policy, judge, imageSize, guidanceScale, every, rounds, tell, pipe, seed } = input;
  const { process, decode, latentShape, steps, device } = input;
  let sampledAfter = 0; // rounds after which the samples at work are drawn
  // Random scores say nothing about the samples.
  const scorer = judge instanceof RandomJudge ? undefined : noGrad(() => judge.prepare(prompts));
  const conditions = keep(promptConditions(pipe, prompts, imageSize)(prompts.map((_, i) => i)));
  const sample = heldOutSamples({
    ...policy.denoisers(conditions, guidanceScale),
    ...{ process, decode, scorer, count: prompts.length, latentShape, steps, seed, device },
    onStep: (done, total) =>
      tell("drawing held-out samples", { done, total, left: timesDueAfter(sampledAfter, every, rounds) }),
  });
  return async function* show(run, round, which) {
    sampledAfter = round;
    const { images, metrics } =
      which === "reference"
        ? sample("reference")
        : policy.withEmaWeights(() => policy.withMergedAdapter(() => sample("policy")));
    const folder = `samples/round-${String(round).padStart(6, "0")}`;
    const shown = [];
    for (const [i, prompt] of prompts.entries()) {
      const name = `The held-out sample for ${JSON.stringify(prompt)} after round ${round}`;
      const { data, width, height } = scope(() => rgbFromPixels(images.narrow(0, i, 1), name));
      const file = `${folder}/${i}.png`;
      writeFileAtomic(join(run.folder, file), await encodePng(data, width, height));
      shown.push({ file, prompt, seed });
    }
    images.dispose();
    yield run.record({ type: "sample", step: round, images: shown });
    yield* run.eval(round, metrics);
  };
}
