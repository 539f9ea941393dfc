import { cat, keep, noGrad, scope, type Tensor, zeros, zerosLike } from "@spo/torch";
import type { World } from "@spo/torch/distributed";

/**
 * Adds up the gradients of a batch's parts over all processes, in float32.
 *
 * `sum`: each process adds up its own, then all are added at once; the bits depend on the number of processes. `exact`: part by part in
 * their order, as one process adds them up, with the same bits for every number.
 */
export class GradientSum {
  readonly #world: World;
  readonly #parameters: readonly Tensor[];
  readonly #isExact: boolean;
  readonly #sums: (Tensor | undefined)[];

  constructor(world: World, parameters: readonly Tensor[], order: "sum" | "exact") {
    this.#world = world;
    this.#parameters = parameters;
    this.#isExact = order === "exact";
    this.#sums = parameters.map(() => undefined);
  }

  /** After the backward pass of one part of each process, or none: every process calls it equally often. */
  async endPart(): Promise<void> {
    if (this.#world.size === 1 || !this.#isExact) return;
    const mine = this.#flat();
    const all = await this.#world.allGather(mine);
    mine.dispose();
    noGrad(() =>
      scope(() => {
        for (let rank = 0; rank < this.#world.size; rank++) this.#add(all.select(0, rank));
        for (const parameter of this.#parameters) parameter.grad = undefined;
      }),
    );
    all.dispose();
  }

  /** After the last part: the parameters' `grad` is the sum, absent where no part had one. */
  async finish(): Promise<void> {
    if (this.#world.size === 1) return;
    if (!this.#isExact) {
      const sum = this.#flat();
      await this.#world.allReduce(sum);
      noGrad(() => scope(() => this.#add(sum.select(0, 0))));
      sum.dispose();
    }
    for (const [i, parameter] of this.#parameters.entries()) {
      parameter.grad = this.#sums[i];
      this.#sums[i]?.dispose();
      this.#sums[i] = undefined;
    }
  }

  /** [1, n]: for each parameter whether it has a gradient, then all gradients. Belongs to no scope. */
  #flat(): Tensor {
    return keep(
      noGrad(() =>
        scope(() => {
          const gradients = this.#parameters.map((parameter) => parameter.grad);
          const there = gradients.map((gradient) => zeros([1]).add(gradient ? 1 : 0));
          const values = gradients.map((gradient, i) =>
            (gradient ?? zerosLike(this.#parameters[i] as Tensor)).reshape([-1]).to({
              dtype: "float32",
              device: this.#parameters[0]?.device,
            }),
          );
          return cat([...there.map((one) => one.to({ device: values[0]?.device })), ...values]).unsqueeze(0);
        }),
      ),
    );
  }

  /** Adds what `#flat` made, without its first dimension. */
  #add(flat: Tensor): void {
    const there = flat.narrow(0, 0, this.#parameters.length).toNumbers();
    let start = this.#parameters.length;
    for (const [i, parameter] of this.#parameters.entries()) {
      const { numel, shape } = parameter;
      const part = flat.narrow(0, start, numel).reshape([...shape]);
      start += numel;
      if (!there[i]) continue;
      const sum = this.#sums[i];
      // A gradient must lie in memory as its parameter does.
      if (sum) sum.add_(part.to({ dtype: sum.dtype }));
      else this.#sums[i] = keep(zerosLike(parameter.detach()).copy_(part));
    }
  }
}
