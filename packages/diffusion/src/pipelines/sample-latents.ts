import { cat, type Generator, noGrad, randn, scope, type Tensor } from "@spo/torch";
import type { TextToImage } from "../families/family.js";
import { allRows, type GuidedConditions } from "../models/conditions.js";
import type { PromptSyntax } from "../prompts/prompt-weights.js";
import type { SamplerState } from "../samplers/sampler.js";
import type { SamplerName, ScheduleName } from "../samplers/sampler-names.js";
import { guidedDenoiser } from "./denoiser.js";

/** What `sampleLatents` draws. Sizes in latent pixels; guidanceScale 1 or less: no guidance; default: the model's. */
export interface SampleOptions {
  prompts: readonly string[];
  /** One for each prompt: an image's noise does not depend on its batch, the image only by rounding. Alone it has the same bits. */
  generators: readonly Generator[];
  /** Size of the latents. Default: what the model was made for. */
  latentSize?: readonly [height: number, width: number];
  /** Absent: the empty text, or for SDXL zeros. */
  negativePrompt?: string;
  /** The prompts as they were encoded before, with the same negative prompt and size; absent: they are encoded here. */
  conditions?: GuidedConditions;
  /** See `EncodeOptions`. Default plain. */
  syntax?: PromptSyntax;
  steps?: number;
  guidanceScale?: number;
  /** Default: the one that the checkpoint names. */
  sampler?: SamplerName;
  /** Schedule of the visited levels. Default: the checkpoint's. */
  schedule?: ScheduleName;
  /** Noise that the steps of DDIM or of a flow model add. 0: deterministic; 1: of DDIM as much as DDPM. */
  eta?: number;
  /** Called after each call of the denoiser, of which PNDM makes one more than steps. */
  onStep?: (done: number, calls: number) => void;
}

/**
 * Text to scaled latents [n, c, h, w]. Decode them with `pipe.vae.decodeLatents`.
 *
 * Throws a RangeError unless there is a generator for each prompt.
 */
export function sampleLatents(pipe: TextToImage, options: SampleOptions): Tensor {
  const {
    prompts,
    generators,
    negativePrompt,
    syntax,
    steps = 20,
    guidanceScale = pipe.guidanceScale,
    eta = 0,
    onStep,
  } = options;
  if (generators.length !== prompts.length)
    throw new RangeError(`${prompts.length} prompts need as many generators, not ${generators.length}`);
  const { denoiser: model } = pipe;
  const latentSize = options.latentSize ?? model.sampleSize;
  const shape = [1, ...model.latentShape(latentSize)];
  const { device } = model;
  const draw = (): Tensor =>
    scope(() => cat(generators.map((generator) => randn(shape, { generator, device }))));
  const [height, width] = latentSize;
  const { factor } = pipe.vae;
  const { schedule } = pipe;
  const sampler = schedule.sampler(options.sampler ?? schedule.ownSampler(), {
    ...{ steps, eta, latentSize },
    spacing: options.schedule,
  });
  return noGrad(() =>
    scope(() => {
      const conditions =
        options.conditions ??
        pipe.encode(prompts, { negativePrompt, syntax, size: [height * factor, width * factor] });
      const predict = guidedDenoiser({ model, ...conditions, guidanceScale }).forRows(
        allRows(conditions.conditional),
      );
      let state: SamplerState = { x: scope(() => draw().mul(sampler.initialScale)), history: [] };
      for (const [i, t] of sampler.timesteps.entries()) {
        const before = state;
        state = scope(() => {
          const shown = sampler.input(before.x, i);
          return sampler.step(before, predict(shown, t), i, draw);
        });
        release(before, state);
        onStep?.(i + 1, sampler.timesteps.length);
      }
      return state.x;
    }),
  );
}

/** Frees what a state held and the next one does not, so that many steps hold no more than one. */
function release(before: SamplerState, after: SamplerState): void {
  const kept = new Set([after.x, ...after.history]);
  for (const tensor of new Set([before.x, ...before.history])) if (!kept.has(tensor)) tensor.dispose();
}
