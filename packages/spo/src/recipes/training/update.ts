import { timed, type WorkMeter } from "@spo/records";
import { clipGradNorm, type Optimizer, type Tensor, UserError } from "@spo/torch";
import type { Precision } from "./precision.js";

/** A training stops after so many skipped updates in a row: it will not recover by itself. */
export const MOST_SKIPPED = 10;

/** What an update works on. */
export interface UpdateParts {
  /** The parameters that learn. */
  parameters: readonly Tensor[];
  optimizer: Optimizer;
  /** Largest norm of all gradients together; null: no clipping. */
  maxGradNorm: number | null;
  /** Of a training that may scale its loss. */
  precision?: Precision;
  meter?: WorkMeter;
}

/** One update's facts. */
export interface UpdateInput {
  /** Of the whole batch, as a number. */
  loss: number;
  /** Learning rate. */
  lr: number;
  /** Where in the training, for people: `step 7`. */
  where: string;
}

/** The outcome of an update. */
export interface UpdateOutcome {
  /** For the step's event. gradNorm: before clipping, without the loss's scale. */
  metrics: { gradNorm: number; lossScale?: number; overflow?: number };
  /** Messages for the user: that the update was skipped. */
  warnings: string[];
}

/**
 * The update of every training: unscale, clip, step, zero the gradients; or leave it out where loss or gradient are not finite.
 *
 * An overflow that float16's loss scale caused lowers the scale and is no fault. Source: algorithm 7.
 */
export class Update {
  readonly #parts: UpdateParts;
  #skipped = 0;

  constructor(parts: UpdateParts) {
    this.#parts = parts;
  }

  /** Whether the last update was made. After a skipped one the weights are in doubt and are not saved. */
  get isSound(): boolean {
    return this.#skipped === 0;
  }

  /** The loss that backward starts from. */
  scale(loss: Tensor): Tensor {
    return this.#parts.precision?.scale(loss) ?? loss;
  }

  /** After backward. Throws a UserError (`NUMERIC`) when it is the tenth in a row that has to be left out. */
  apply({ loss, lr, where }: UpdateInput): UpdateOutcome {
    const { parameters, optimizer, maxGradNorm, precision, meter } = this.#parts;
    const maxNorm = maxGradNorm ?? Number.POSITIVE_INFINITY;
    const gradNorm = precision?.clipGradNorm(parameters, maxNorm) ?? clipGradNorm(parameters, maxNorm);
    const warnings: string[] = [];
    if (Number.isFinite(loss) && Number.isFinite(gradNorm)) {
      optimizer.lr = lr;
      timed(meter, "optimizer", () => optimizer.step());
      this.#skipped = 0;
    } else if (!precision?.overflowed(loss, gradNorm)) {
      this.#skipped++;
      if (this.#skipped === MOST_SKIPPED) throw notFinite(this.#skipped, where);
      warnings.push(
        `${where}: loss ${loss}, gradient norm ${gradNorm}: update skipped, ${this.#skipped} in a row`,
      );
    }
    optimizer.zeroGrad();
    return { metrics: { gradNorm, ...precision?.finish(loss, gradNorm) }, warnings };
  }

  /** At the end of a training. Throws a UserError (`NUMERIC`) when its last update was left out: such weights are no result. */
  requireSound(where: string): void {
    if (!this.isSound) throw notFinite(this.#skipped, where);
  }
}

/** The error of a training whose loss or gradients are not finite. */
const notFinite = (times: number, where: string): UserError =>
  new UserError(
    `The loss or its gradient was not finite ${times === 1 ? "once" : `${times} times in a row`}, up to ${where}.`,
    { code: "NUMERIC", hint: "Lower the learning rate (optimizer.lr). Checkpoints from before are kept." },
  );
