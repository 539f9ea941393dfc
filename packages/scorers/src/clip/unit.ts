import type { Tensor } from "@spo/torch";

/** Rows of length 1. rows [n, width] → [n, width]. */
export const unit = (rows: Tensor): Tensor => rows.div(rows.linalgVectorNorm(2, -1, true));
