import type { Tensor } from "@spo/torch";
import type { Context } from "./attention.js";

/** What a flow model is told of each row of a batch. */
export type FlowConditions = Readonly<{
  /** Encoded text [b, m, d], or each text once. */
  context: Context;
  /** Pooled text [b, d]. */
  pooled: Tensor;
}>;
