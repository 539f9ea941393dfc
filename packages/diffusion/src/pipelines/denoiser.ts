// A denoiser for a list of prompts, with classifier-free guidance.
import { cat, type DType, scope, type Tensor, UserError } from "@spo/torch";
import type { Context } from "../models/attention.js";
import { type Conditions, type GuidedConditions, placesOf } from "../models/conditions.js";
import type { DenoiserInputs, DenoiserModel } from "../models/denoiser-model.js";

/** x_t [n, c, h, w] float32, t (one for all, or int64 [n]) → the model's prediction [n, c, h, w] float32. */
export type Predict = (xt: Tensor, t: number | Tensor) => Tensor;

/** Predictions for a fixed list of prompts. */
export interface Denoiser {
  /**
   * The prediction for n latents, latent i of prompt rows[i]. What it gathers lives in the scope of this call, so that many steps with
   * the same rows share it.
   */
  forRows(rows: readonly number[]): Predict;
  /** Passes of the model for one latent: 2 with guidance. */
  readonly samplePasses: number;
}

/** ε = ε_u + g·(ε_c − ε_u) of a batch [uncond; cond]: [2b, ...] → [b, ...]. Source: Ho & Salimans 2022, eq. 6. */
export function guide(both: Tensor, guidanceScale: number): Tensor {
  return scope(() => {
    const [uncond, cond] = both.chunk(2, 0) as [Tensor, Tensor];
    return uncond.lerp(cond, guidanceScale);
  });
}

/**
 * Whether a model computes both sides: above a scale of 1, unless it gets the scale as an input and was distilled to need one side only.
 *
 * Source: diffusers `do_classifier_free_guidance`.
 */
export const isGuided = (
  { embedsGuidance }: Pick<DenoiserModel, "embedsGuidance">,
  guidanceScale: number,
): boolean => guidanceScale > 1 && !embedsGuidance;

/** The scale at which a model predicts for the prompt alone: 1, or for one that is told the scale and has no second side, that scale. */
export const scaleOfPromptAlone = (
  { embedsGuidance }: Pick<DenoiserModel, "embedsGuidance">,
  guidanceScale: number,
): number => (embedsGuidance ? guidanceScale : 1);

/**
 * Classifier-free guidance by one call over [uncond; cond]. Where nothing is to be guided (`isGuided`), the conditional prediction alone.
 *
 * Throws a UserError (`USAGE`) for a scale above 1 and a model to which it means nothing.
 *
 * conditional: one row a prompt; unconditional: one row for all, or one a prompt. `around` wraps each call of the model: with a LoRA's
 * `without` the same model is the reference. Source: algorithm 1.
 */
export function guidedDenoiser({
  model,
  conditional,
  unconditional,
  guidanceScale,
  around = (call) => call(),
}: GuidedConditions & {
  model: DenoiserModel;
  guidanceScale: number;
  around?: (call: () => Tensor) => Tensor;
}): Denoiser {
  if (guidanceScale > 1 && !model.takesGuidance)
    throw new UserError(
      `A guidance scale of ${guidanceScale} means nothing to this model: it was distilled to need none.`,
      {
        code: "USAGE",
        hint: "Give a guidance scale of 1 or less (--guidance-scale 1).",
      },
    );
  const guided = isGuided(model, guidanceScale);
  const sides = guided ? [unconditional, conditional] : [conditional];
  // Texts of different lengths, as weighted prompts may have, cannot share a call.
  const calls = new Set(sides.map(lengths)).size === 1 ? [sides] : sides.map((side) => [side]);
  return {
    samplePasses: sides.length,
    forRows(rows) {
      const { dtype } = model;
      const inputs = calls.map((each) => inputsOf(each, rows, dtype));
      return (xt, t) =>
        scope(() => {
          const input = xt.to({ dtype });
          const outputs = inputs.map((told) =>
            around(() => model.forward(input, t, told, { guidanceScale })).to({ dtype: "float32" }),
          );
          const [first, second] = outputs as [Tensor, Tensor?];
          if (second) return first.lerp(second, guidanceScale);
          return guided ? guide(first, guidanceScale) : first;
        });
    },
  };
}

/** The same predictions, computed for at most `most` latents at a time; null: for all at once. */
export const inPasses = (denoiser: Denoiser, most: number | null): Denoiser => ({
  samplePasses: denoiser.samplePasses,
  forRows(rows) {
    if (most === null || rows.length <= most) return denoiser.forRows(rows);
    const starts = Array.from({ length: Math.ceil(rows.length / most) }, (_, i) => i * most);
    const predicts = starts.map((start) => denoiser.forRows(rows.slice(start, start + most)));
    return (xt, t) =>
      scope(() => {
        const times = typeof t === "number" ? undefined : t.split(most);
        const parts = xt.split(most);
        return cat(parts.map((part, i) => (predicts[i] as Predict)(part, times?.[i] ?? (t as number))));
      });
  },
});

/** Numbers of tokens of a side's texts. */
const lengths = (side: Conditions): string =>
  Object.values(side)
    .map(({ shape }) => shape.slice(1))
    .join("/");

/**
 * The sides one below the other, each for the given rows; a side's single row serves all. States of tokens are in the model's dtype, each
 * text once.
 */
function inputsOf(sides: readonly Conditions[], rows: readonly number[], dtype: DType): DenoiserInputs {
  const names = Object.keys(sides[0] as Conditions);
  return Object.fromEntries(
    names.map((name) => {
      const parts = sides.map((side) => side[name] as Tensor);
      return [name, parts[0]?.ndim === 3 ? sharedRows(parts, rows, dtype) : rowsOfEach(parts, rows)];
    }),
  );
}

function sharedRows(parts: readonly Tensor[], rows: readonly number[], dtype: DType): Context {
  const texts: Tensor[] = [];
  const places: number[] = [];
  let start = 0;
  for (const all of parts) {
    const wanted = all.shape[0] === 1 ? rows.map(() => 0) : rows;
    const distinct = [...new Set(wanted)];
    texts.push(isWhole(distinct, all) ? all : all.indexSelect(0, placesOf(distinct, all)));
    places.push(...wanted.map((row) => start + distinct.indexOf(row)));
    start += distinct.length;
  }
  const all = cat(texts).to({ dtype });
  return isWhole(places, all) ? all : { texts: all, rows: placesOf(places, all) };
}

const rowsOfEach = (parts: readonly Tensor[], rows: readonly number[]): Tensor =>
  cat(
    parts.map((all) =>
      all.shape[0] === 1 ? all.expand([rows.length, -1]) : all.indexSelect(0, placesOf(rows, all)),
    ),
  );

/** Whether rows are all there are, in order. */
const isWhole = (rows: readonly number[], { shape }: Tensor): boolean =>
  rows.length === shape[0] && rows.every((row, i) => row === i);
