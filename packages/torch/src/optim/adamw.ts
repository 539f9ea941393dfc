import { checkNumber, checkOptions } from "../arguments.js";
import { noGrad } from "../modes.js";
import { inOrder } from "../nn/kernel-order.js";
import { _foreachAdd_, _fusedAdamw_, zeros, zerosLike } from "../ops.gen.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import { checkParameters } from "./optimizer.js";

/** Settings of AdamW, with PyTorch's defaults. */
export interface AdamWOptions {
  lr: number;
  betas?: readonly [number, number];
  eps?: number;
  /** Decoupled: p ← p·(1 − lr·weightDecay). */
  weightDecay?: number;
}

/**
 * AdamW by libtorch's fused kernel.
 *
 * Step s: p ← p·(1 − lr·wd); m ← b1·m + (1−b1)g; v ← b2·v + (1−b2)g²; p ← p − lr·(m/(1−b1^s)) / (√(v/(1−b2^s)) + eps).
 * Parameters without a gradient are left alone. Source: Loshchilov & Hutter 2019, algorithm 2.
 */
export class AdamW {
  lr: number;
  readonly #parameters: readonly Tensor[];
  readonly #options: Required<Omit<AdamWOptions, "lr">>;
  readonly #means: Tensor[];
  readonly #squares: Tensor[];
  readonly #steps: Tensor[];

  constructor(parameters: readonly Tensor[], options: AdamWOptions) {
    checkParameters("AdamW", parameters);
    checkOptions("AdamW", options);
    const { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 } = options;
    for (const [name, value] of Object.entries({
      lr,
      "betas[0]": betas[0],
      "betas[1]": betas[1],
      eps,
      weightDecay,
    }))
      checkNumber("AdamW", name, value);
    if (parameters.length === 0) throw new Error("AdamW: there is no parameter to train");
    this.lr = lr;
    this.#parameters = parameters;
    this.#options = { betas, eps, weightDecay };
    // The kernel goes through parameter, gradient and moments by their places in memory, so that all must be in one order.
    for (const p of parameters) inOrder(p);
    this.#means = parameters.map((p) => keep(noGrad(() => zerosLike(p))));
    this.#squares = parameters.map((p) => keep(noGrad(() => zerosLike(p))));
    this.#steps = parameters.map(({ device }) => keep(zeros([], { device })));
  }

  /** One update from the parameters' `grad`. */
  step(): void {
    noGrad(() =>
      scope(() => {
        const chosen: number[] = [];
        const gradients: Tensor[] = [];
        for (const [i, parameter] of this.#parameters.entries()) {
          const gradient = parameter.grad;
          if (!gradient) continue;
          chosen.push(i);
          gradients.push(gradient);
        }
        if (chosen.length === 0) return;
        const pick = (tensors: readonly Tensor[]): Tensor[] => chosen.map((i) => tensors[i] as Tensor);
        const steps = pick(this.#steps);
        _foreachAdd_(steps, 1);
        const { betas, eps, weightDecay } = this.#options;
        _fusedAdamw_(pick(this.#parameters), gradients, pick(this.#means), pick(this.#squares), [], steps, {
          lr: this.lr,
          beta1: betas[0],
          beta2: betas[1],
          weightDecay,
          eps,
          amsgrad: false,
          maximize: false,
        });
      }),
    );
  }

  zeroGrad(): void {
    for (const parameter of this.#parameters) parameter.grad = undefined;
  }

  /** Moments and step counts by `exp_avg.N`, `exp_avg_sq.N`, `step.N`, N the parameter's place. The tensors are the live ones. */
  state(): Map<string, Tensor> {
    const found = new Map<string, Tensor>();
    for (const i of this.#parameters.keys()) {
      found.set(`exp_avg.${i}`, this.#means[i] as Tensor);
      found.set(`exp_avg_sq.${i}`, this.#squares[i] as Tensor);
      found.set(`step.${i}`, this.#steps[i] as Tensor);
    }
    return found;
  }

  /** Copies a saved state in. Throws when an entry is missing or misshapen. */
  loadState(saved: ReadonlyMap<string, Tensor>): void {
    noGrad(() => {
      for (const [name, target] of this.state()) {
        const source = saved.get(name);
        if (!source)
          throw new Error(`AdamW: the saved state has no ${name}; it belongs to another set of parameters`);
        if (source.numel !== target.numel)
          throw new Error(`AdamW: ${name} has [${source.shape}], expected [${target.shape}]`);
        target.copy_(source);
      }
    });
  }

  dispose(): void {
    for (const tensor of this.state().values()) tensor.dispose();
  }
}
