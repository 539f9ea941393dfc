import { createHash } from "node:crypto";
import { timed, type WorkMeter } from "@spo/records";
import { clipGradNorm, type Optimizer, scope, type Tensor, UserError, zerosLike } from "@spo/torch";
import { requireSame, WORLD_OF_ONE, type World } from "@spo/torch/distributed";
import { GradientSum } from "./gradient-sum.js";
import { type MicroBatch, partsOfProcess, sharerOf } from "./micro-batches.js";
import type { Precision } from "./precision.js";

/** A training stops after so many skipped updates in a row: it will not recover by itself. */
export const MOST_SKIPPED = 10;

/** Updates after which several processes see whether their parameters are still the same. */
export const CHECKED_EVERY = 100;

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
  /** The processes that share the work. Default: this one alone. */
  world?: World;
  /** How they add up gradients: see `GradientSum`. */
  reduce?: "sum" | "exact";
  /** Whether a parameter without a gradient takes a step too, with one of zero: the optimizer's moments decay. Default: it stays. */
  stepsWithoutGradient?: boolean;
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
 * Nothing else adds up gradients of several processes. Whether to clip or to leave an update out is decided on the sums, alike in each.
 *
 * An overflow that float16's loss scale caused lowers the scale and is no fault. Source: algorithm 7.
 */
export class Update {
  readonly #parts: UpdateParts;
  readonly #world: World;
  readonly #gradients: GradientSum;
  #skipped = 0;
  #applied = 0;

  constructor(parts: UpdateParts) {
    const { world = WORLD_OF_ONE, parameters, reduce = "sum" } = parts;
    this.#parts = parts;
    this.#world = world;
    this.#gradients = new GradientSum(world, parameters, reduce);
  }

  /** What this process computes of a batch: see `partsOfProcess`. After each part, and in place of an undefined one, call `endPart`. */
  share(batch: number, microBatch: number): (MicroBatch | undefined)[] {
    return partsOfProcess(batch, microBatch, sharerOf(this.#world, this.#parts.reduce ?? "sum"));
  }

  /** After the backward pass of a part, or in its place. */
  async endPart(): Promise<void> {
    await this.#gradients.endPart();
  }

  /** What all processes found of their parts, in the order of the parts. */
  async gatherParts<T>(mine: readonly T[]): Promise<T[]> {
    const all = await this.#world.gather(mine);
    return (all[0] as readonly T[]).flatMap((_, i) => all.flatMap((of) => of.slice(i, i + 1)));
  }

  /** Whether the last update was made. After a skipped one the weights are in doubt and are not saved. */
  get isSound(): boolean {
    return this.#skipped === 0;
  }

  /** The loss that backward starts from. */
  scale(loss: Tensor): Tensor {
    return this.#parts.precision?.scale(loss) ?? loss;
  }

  /**
   * After backward of all parts; loss: of the whole batch, the same in every process. Throws a UserError: `NUMERIC` when it is the tenth
   * in a row that has to be left out; `CONFIG` in every process when the processes' parameters have come to differ.
   */
  async apply({ loss, lr, where }: UpdateInput): Promise<UpdateOutcome> {
    await this.#gradients.finish();
    const { parameters, optimizer, maxGradNorm, precision, meter, stepsWithoutGradient } = this.#parts;
    if (stepsWithoutGradient)
      scope(() => {
        for (const parameter of parameters) parameter.grad ??= zerosLike(parameter);
      });
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
    this.#applied++;
    if (this.#world.size > 1 && this.#applied % CHECKED_EVERY === 0) await this.#requireAlike();
    return { metrics: { gradNorm, ...precision?.finish(loss, gradNorm) }, warnings };
  }

  /** Memory that is damaged, or a device that computes otherwise, would go unseen: every process makes the same updates. */
  async #requireAlike(): Promise<void> {
    const { parameters } = this.#parts;
    const digests = parameters.map((parameter, i) => [
      `parameter ${i} of ${parameters.length}`,
      digestOf(parameter),
    ]);
    await requireSame(this.#world, "parameters", Object.fromEntries(digests));
  }

  /** At the end of a training. Throws a UserError (`NUMERIC`) when its last update was left out: such weights are no result. */
  requireSound(where: string): void {
    if (!this.isSound) throw notFinite(this.#skipped, where);
  }
}

/** 64 bits of the SHA-256 of a tensor's elements. */
function digestOf(of: Tensor): string {
  return createHash("sha256").update(of.toTypedArray()).digest("hex").slice(0, 16);
}

/** The error of a training whose loss or gradients are not finite. */
const notFinite = (times: number, where: string): UserError =>
  new UserError(
    `The loss or its gradient was not finite ${times === 1 ? "once" : `${times} times in a row`}, up to ${where}.`,
    { code: "NUMERIC", hint: "Lower the learning rate (optimizer.lr). Checkpoints from before are kept." },
  );
