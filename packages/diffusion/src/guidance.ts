import { cat, scope, type Tensor } from "@spo/torch";
import type { AddedConditions, UNet2DConditionModel } from "./unet-2d-condition.js";

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
 * The guided output of a UNet, by one call over [uncond; cond]; a scale of 1 is the conditional output alone.
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
    const x = xt.to({ dtype: unet.conv_in.weight.dtype });
    if (guidanceScale === 1)
      return unet
        .forward(x, timestep, conditional.context, { added: conditional.added })
        .to({ dtype: "float32" });
    const both = unet.forward(x, timestep, cat([unconditional.context, conditional.context]), {
      added: bothAdded(unconditional.added, conditional.added),
    });
    return guide(both.to({ dtype: "float32" }), guidanceScale);
  });
}

function bothAdded(first?: AddedConditions, second?: AddedConditions): AddedConditions | undefined {
  if (!first || !second) return undefined;
  return {
    textEmbeds: cat([first.textEmbeds, second.textEmbeds]),
    timeIds: cat([first.timeIds, second.timeIds]),
  };
}
