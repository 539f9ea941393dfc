import { generatorAt } from "../generator-at.js";
import { noGrad } from "../modes.js";
import { _fusedAdamw_, zeros } from "../ops.gen.js";
import { rand } from "../random.js";
import { keep, scope } from "../scope.js";
import type { Tensor } from "../tensor.js";
import type { AdamWOptions } from "./adamw.js";
import { BLOCK, Blockwise8bit } from "./blockwise-8bit.js";
import { checkParameters } from "./optimizer.js";

/** Fewer numbers than this keep moments in float32. Source: bitsandbytes, `min_8bit_size`. */
const SMALLEST = 4096;
/** Numbers that are computed with at a time: their float32 moments exist for so long. */
const PART = 2 ** 12 * BLOCK;

/** A part of a parameter's moments, in float32. */
interface Moments {
  read(start: number, count: number): Tensor;
  write(start: number, values: Tensor): void;
  state(name: string): [string, Tensor][];
  dispose(): void;
}

/**
 * AdamW whose moments take 8 bits each, in blocks of 256: a quarter of the memory. The step is AdamW's own, in float32.
 *
 * Parameters in bfloat16 are rounded at random, up as often as their value lies above the lower neighbour: else steps smaller than half a
 * digit would be lost. Source: Dettmers et al. 2022; bitsandbytes; the rounding: Zamirai et al. 2020, "Revisiting BFloat16 Training".
 */
export class AdamW8bit {
  lr: number;
  readonly #parameters: readonly Tensor[];
  readonly #options: Required<Omit<AdamWOptions, "lr">>;
  readonly #moments: (readonly [Moments, Moments])[];
  readonly #steps: Tensor[];
  readonly #seed: number;

  /** seed: of the rounding of bfloat16. */
  constructor(
    parameters: readonly Tensor[],
    { lr, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, seed = 0 }: AdamWOptions & { seed?: number },
  ) {
    checkParameters("AdamW8bit", parameters);
    this.lr = lr;
    this.#parameters = parameters;
    this.#options = { betas, eps, weightDecay };
    this.#seed = seed;
    this.#moments = parameters.map((parameter) => [moments(parameter, true), moments(parameter, false)]);
    this.#steps = parameters.map(({ device }) => keep(zeros([], { device })));
  }

  /** One update from the parameters' `grad`. */
  step(): void {
    noGrad(() =>
      scope(() => {
        const done = this.#steps[0]?.device === "meta" ? 0 : (this.#steps[0]?.item() as number);
        // One draw for all parts, each of which takes it from another place on.
        const longest = Math.max(...this.#parameters.map(roundedPart));
        const noise = rand([Math.max(longest, 1)], {
          generator: generatorAt(this.#seed, "rounding", done),
          device: this.#parameters[0]?.device,
        });
        for (const i of this.#parameters.keys()) scope(() => this.#update(i, noise));
      }),
    );
  }

  #update(i: number, noise: Tensor): void {
    const parameter = this.#parameters[i] as Tensor;
    const { grad } = parameter;
    if (!grad) return;
    const [means, squares] = this.#moments[i] as [Moments, Moments];
    const step = this.#steps[i] as Tensor;
    step.add_(1);
    const { betas, eps, weightDecay } = this.#options;
    const [values, gradients] = [parameter, grad].map((all) => all.reshape([-1])) as [Tensor, Tensor];
    for (let start = 0; start < values.numel; start += PART) {
      scope(() => {
        const count = Math.min(PART, values.numel - start);
        const target = values.narrow(0, start, count);
        const exact = target.to({ dtype: "float32" });
        const [m, v] = [means.read(start, count), squares.read(start, count)];
        const gradient = gradients.narrow(0, start, count).to({ dtype: "float32" });
        _fusedAdamw_([exact], [gradient], [m], [v], [], [step], {
          ...{ lr: this.lr, beta1: betas[0], beta2: betas[1] },
          ...{ weightDecay, eps, amsgrad: false, maximize: false },
        });
        means.write(start, m);
        squares.write(start, v);
        if (target.dtype === "bfloat16") target.copy_(roundedAtRandom(exact, noise.roll(i * 7919 + start)));
      });
    }
    if (!isContiguous(parameter)) parameter.copy_(values.reshape(parameter.shape));
  }

  zeroGrad(): void {
    for (const parameter of this.#parameters) parameter.grad = undefined;
  }

  /** Moments and step counts by names that begin with `exp_avg.N`, `exp_avg_sq.N`, `step.N`, N the parameter's place. */
  state(): Map<string, Tensor> {
    return new Map(
      [...this.#parameters.keys()].flatMap((i) => {
        const [means, squares] = this.#moments[i] as [Moments, Moments];
        return [
          ...means.state(`exp_avg.${i}`),
          ...squares.state(`exp_avg_sq.${i}`),
          [`step.${i}`, this.#steps[i] as Tensor] as [string, Tensor],
        ];
      }),
    );
  }

  dispose(): void {
    for (const pair of this.#moments) for (const each of pair) each.dispose();
    for (const step of this.#steps) step.dispose();
  }
}

/** Whether its numbers stand in their order in memory, so that a flat view changes them. */
const isContiguous = ({ shape, strides }: Tensor): boolean =>
  strides.every((stride, i) => stride === shape.slice(i + 1).reduce((a, b) => a * b, 1));

/** Numbers of a parameter's part that are rounded at random. */
const roundedPart = ({ dtype, numel }: Tensor): number => (dtype === "bfloat16" ? Math.min(PART, numel) : 0);

function moments(parameter: Tensor, signed: boolean): Moments {
  const { numel, device } = parameter;
  if (numel >= SMALLEST) {
    const stored = new Blockwise8bit(numel, { signed, device });
    return {
      read: (start, count) => stored.read(start, count),
      write: (start, values) => stored.write(start, values),
      state: (name) => [
        [name, stored.codes],
        [`${name}.largest`, stored.largest],
      ],
      dispose: () => stored.dispose(),
    };
  }
  const stored = keep(zeros([numel], { device }));
  return {
    read: () => stored.clone(),
    write: (_, values) => void stored.copy_(values),
    state: (name) => [[name, stored]],
    dispose: () => stored.dispose(),
  };
}

/** float32 → bfloat16: the neighbour above with the chance of the distance to the one below. noise: at least as many in [0, 1). */
function roundedAtRandom(exact: Tensor, noise: Tensor): Tensor {
  return scope(() => {
    // A digit of bfloat16 at each value's size: 2^(⌊log₂|x|⌋ − 7).
    const exponent = exact
      .abs()
      .clamp(1e-30)
      .log()
      .mul(1 / Math.LN2)
      .floor()
      .sub(7);
    const digit = exponent.mul(Math.LN2).exp();
    const chosen = exact
      .div(digit)
      .add(noise.narrow(0, 0, exact.numel))
      .floor();
    return chosen.mul(digit).to({ dtype: "bfloat16" });
  });
}
