import { cat, type DType, scope, type Tensor } from "@spo/torch";
import type { AddedConditions, UNet2DConditionModel } from "../models/unet-2d-condition.js";

/** What a UNet is told about each of n images. */
export interface Conditions {
  /** Encoded text [n, L, d]. */
  context: Tensor;
  /** SDXL's pooled text and sizes, n rows each. */
  added?: AddedConditions;
}

/** Where guidance goes, and what it goes away from. */
export interface GuidedConditions {
  conditional: Conditions;
  unconditional: Conditions;
}

/** ε = ε_u + g·(ε_c − ε_u) of a batch [uncond; cond]: [2b, ...] → [b, ...]. Source: Ho & Salimans 2022, eq. 6. */
export function guide(both: Tensor, guidanceScale: number): Tensor {
  return scope(() => {
    const [uncond, cond] = both.chunk(2, 0) as [Tensor, Tensor];
    return uncond.lerp(cond, guidanceScale);
  });
}

/**
 * Whether a UNet computes both sides: above a scale of 1, unless it is told the scale and was distilled to need one side only.
 *
 * Source: diffusers `do_classifier_free_guidance`.
 */
export const isGuided = (
  { config }: { config: Pick<UNet2DConditionModel["config"], "time_cond_proj_dim"> },
  guidanceScale: number,
): boolean => guidanceScale > 1 && !config.time_cond_proj_dim;

/**
 * The guided output of a UNet, by one call over [uncond; cond]; where nothing is to be guided (`isGuided`), the conditional output alone.
 *
 * xt [b, c, h, w], timestep one for all, conditions of b rows → [b, c, h, w] float32.
 */
export function guidedOutput(
  unet: UNet2DConditionModel,
  xt: Tensor,
  timestep: number,
  { conditional, unconditional }: GuidedConditions,
  guidanceScale: number,
): Tensor {
  return scope(() => {
    const { dtype } = unet.conv_in.weight;
    const guided = isGuided(unet, guidanceScale);
    // Texts of different lengths, as weighted prompts may have, cannot share a call.
    if (guided && unconditional.context.shape[1] !== conditional.context.shape[1]) {
      const outputOf = (side: Conditions): Tensor =>
        unet
          .forward(xt.to({ dtype }), timestep, side.context.to({ dtype }), {
            added: joined([side], dtype),
            guidanceScale,
          })
          .to({ dtype: "float32" });
      return outputOf(unconditional).lerp(outputOf(conditional), guidanceScale);
    }
    const sides = guided ? [unconditional, conditional] : [conditional];
    const context = cat(sides.map((side) => side.context)).to({ dtype });
    const added = joined(sides, dtype);
    const output = unet.forward(xt.to({ dtype }), timestep, context, { added, guidanceScale });
    const exact = output.to({ dtype: "float32" });
    return guided ? guide(exact, guidanceScale) : exact;
  });
}

function joined(sides: readonly Conditions[], dtype: DType): AddedConditions | undefined {
  const added = sides.flatMap((side) => side.added ?? []);
  if (added.length < sides.length) return undefined;
  return {
    textEmbeds: cat(added.map((side) => side.textEmbeds)).to({ dtype }),
    timeIds: cat(added.map((side) => side.timeIds)),
  };
}
