// Settings of a training that several processes can do together. No tensor code: help and checks need no engine.
import { z } from "zod";

/** For the schema of a recipe that several processes can do together. */
export const processesSettings = {
  reduce: z
    .enum(["sum", "exact"])
    .default("sum")
    .describe(
      "how several processes add up gradients: at once, or micro-batch by micro-batch with the same bits for every number of processes",
    ),
};
