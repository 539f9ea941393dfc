import { UserError } from "@spo/torch";

/** A training stops after so many updates in a row that had to be left out: it will not come back by itself. */
export const MOST_SKIPPED = 10;

/** The fault of a training whose numbers ran away. */
export const notFinite = (times: number, where: string): UserError =>
  new UserError(`The loss or its gradient was not finite ${times} times in a row, up to ${where}.`, {
    code: "NUMERIC",
    hint: "Lower optimizer.lr. Checkpoints from before are kept.",
  });

/** The fault of a training whose judge says nothing any more. */
export const scoresNotFinite = (times: number, where: string): UserError =>
  new UserError(`No score of the judge was finite at ${times} judged timesteps in a row, up to ${where}.`, {
    code: "NUMERIC",
    hint: "If the model has run away, lower optimizer.lr; else the judge is broken. Checkpoints from before are kept.",
  });
