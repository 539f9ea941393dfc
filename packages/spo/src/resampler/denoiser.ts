import {
  type AddedConditions,
  type Conditions,
  guide,
  isGuided,
  type SharedContext,
  type UNet2DConditionModel,
} from "@spo/diffusion";
import { cat, type DType, scope, type Tensor, tensor } from "@spo/torch";

/** x_t [n, c, h, w] float32, t (one for all, or int64 [n]) → ε [n, c, h, w] float32. */
export type PredictNoise = (xt: Tensor, t: number | Tensor) => Tensor;

/** Noise prediction for a fixed list of prompts. */
export interface Denoiser {
  /**
   * The prediction for n latents, latent i of prompt rows[i]. What it gathers lives in the scope of this call, so that many steps with
   * the same rows share it.
   */
  forRows(rows: readonly number[]): PredictNoise;
  /** UNet passes of one latent: 2 with guidance. */
  readonly samplePasses: number;
}

/**
 * Classifier-free guidance, one UNet batch [uncond; cond]. Where nothing is to be guided (`isGuided`), the conditional prediction alone.
 *
 * conditional: one row a prompt; unconditional: one row for all, or one a prompt. `around` wraps each UNet call: with a LoRA's `without`
 * the same UNet is the reference. Source: algorithm 1.
 */
export function guidedDenoiser({
  unet,
  conditional,
  unconditional,
  guidanceScale,
  around = (call) => call(),
}: {
  unet: UNet2DConditionModel;
  conditional: Conditions;
  unconditional: Conditions;
  guidanceScale: number;
  around?: (call: () => Tensor) => Tensor;
}): Denoiser {
  const guided = isGuided(unet, guidanceScale);
  return {
    samplePasses: guided ? 2 : 1,
    forRows(rows) {
      const sides = guided ? [unconditional, conditional] : [conditional];
      const { dtype } = unet.conv_in.weight;
      const context = sharedContext(sides, rows, dtype);
      const added = addedRows(sides, rows, dtype);
      return (xt, t) =>
        scope(() => {
          const input = xt.to({ dtype });
          const output = around(() => unet.forward(input, t, context, { added, guidanceScale })).to({
            dtype: "float32",
          });
          return guided ? guide(output, guidanceScale) : output;
        });
    },
  };
}

/** The sides one below the other, each for the given rows, every text of a side once. A single row serves all. */
function sharedContext(sides: readonly Conditions[], rows: readonly number[], dtype: DType): SharedContext {
  const texts: Tensor[] = [];
  const places: number[] = [];
  let start = 0;
  for (const { context } of sides) {
    const wanted = context.shape[0] === 1 ? rows.map(() => 0) : rows;
    const distinct = [...new Set(wanted)];
    texts.push(context.indexSelect(0, indices(distinct, context)));
    places.push(...wanted.map((row) => start + distinct.indexOf(row)));
    start += distinct.length;
  }
  const all = cat(texts).to({ dtype });
  return { texts: all, rows: indices(places, all) };
}

function addedRows(
  sides: readonly Conditions[],
  rows: readonly number[],
  dtype: DType,
): AddedConditions | undefined {
  const parts = sides.map(({ added }) => added);
  if (!parts.every((added) => added !== undefined)) return undefined;
  const take = (all: Tensor): Tensor =>
    all.shape[0] === 1 ? all.expand([rows.length, -1]) : all.indexSelect(0, indices(rows, all));
  return {
    textEmbeds: cat(parts.map(({ textEmbeds }) => take(textEmbeds))).to({ dtype }),
    timeIds: cat(parts.map(({ timeIds }) => take(timeIds))),
  };
}

const indices = (places: readonly number[], like: Tensor): Tensor =>
  tensor([...places], { dtype: "int64", device: like.device });
