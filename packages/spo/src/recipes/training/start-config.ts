// The setting of a training that begins where another one was. No tensor code: help and checks need no engine.
import { pathText } from "@spo/records/config";

/** For the schema of a recipe whose weights may begin as others. */
export const startSettings = (what: string) => ({
  from: pathText()
    .nullable()
    .default(null)
    .describe(
      `what the weights begin as: those of another run's newest checkpoint (RUN) or of a step (RUN@STEP)${what}; the optimizer and the steps begin anew`,
    ),
});
