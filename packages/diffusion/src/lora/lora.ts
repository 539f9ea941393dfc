import {
  Conv2d,
  conv2d,
  type Generator,
  keep,
  Linear,
  lowRankLinear,
  Module,
  noGrad,
  parameter,
  scope,
  type Tensor,
  UserError,
  zeros,
} from "@spo/torch";
import { ATTENTION_TARGETS } from "../models/attention.js";

interface LoraState {
  on: boolean;
  merged: boolean;
  scale: number;
}

/**
 * Low-rank adapter of a linear map or convolution: y = base(x) + scale·(alpha/rank)·B(A(x)).
 *
 * `weight` and `bias` are the base's own tensors. Over a convolution A has its kernel, stride and padding, and B is 1×1. Adapters may lie
 * over one another. Source: Hu et al. 2021, section 4.1; for convolutions, kohya's and peft's form.
 */
export class LoraLayer extends Module {
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** Of a weight in 8 bits. */
  readonly weight_scale?: Tensor;
  /** [rank, in], or [rank, in, k, k] */
  readonly lora_A: Tensor;
  /** [out, rank], or [out, rank, 1, 1] */
  readonly lora_B: Tensor;
  readonly #state: LoraState;
  readonly #below: Adaptable;
  readonly #base: Linear | Conv2d;
  readonly #alpha: number;

  /** @internal Use `addLora` or `applyLora`. */
  constructor(below: Adaptable, rank: number, alpha: number, state: LoraState) {
    super();
    this.#below = below;
    this.#base = below instanceof LoraLayer ? below.base : below;
    this.#state = state;
    this.#alpha = alpha;
    this.weight = below.weight;
    if (below.bias) this.bias = below.bias;
    if (below.weight_scale) this.weight_scale = below.weight_scale;
    const [outputs, ...inputs] = this.weight.shape as [number, ...number[]];
    this.lora_A = parameter([rank, ...inputs]);
    this.lora_B = parameter(this.#base instanceof Conv2d ? [outputs, rank, 1, 1] : [outputs, rank]);
  }

  /** The layer under all adapters. */
  get base(): Linear | Conv2d {
    return this.#base;
  }

  /** The layer right under this adapter. */
  get below(): Adaptable {
    return this.#below;
  }

  get rank(): number {
    return this.lora_A.shape[0] as number;
  }

  get alpha(): number {
    return this.#alpha;
  }

  /** What the adapter's product is multiplied by; 0 while it is off or merged. */
  get factor(): number {
    return this.#state.on && !this.#state.merged ? this.#strength : 0;
  }

  get #strength(): number {
    return (this.#state.scale * this.#alpha) / this.rank;
  }

  /** ΔW = scale·(alpha/rank)·B·A, of the weight's shape. */
  delta(): Tensor {
    return scope(() =>
      this.lora_B
        .flatten(1)
        .matmul(this.lora_A.flatten(1))
        .mul(this.#strength)
        .reshape([...this.weight.shape]),
    );
  }

  forward(x: Tensor): Tensor {
    const factor = this.factor;
    if (factor === 0) return this.#below.forward(x);
    if (this.#below instanceof Linear && !this.weight_scale)
      return lowRankLinear(x, this.#below, { down: this.lora_A, up: this.lora_B, factor });
    return scope(() => {
      const low = this.#lowRank(x.to({ dtype: this.lora_A.dtype }));
      const y = this.#below.forward(x);
      return y.add(low.to({ dtype: y.dtype }), { alpha: factor });
    });
  }

  #lowRank(x: Tensor): Tensor {
    return this.#base instanceof Conv2d
      ? conv2d(
          conv2d(x, this.lora_A, undefined, this.#base.stride, this.#base.padding),
          this.lora_B,
          undefined,
        )
      : x.matmul(this.lora_A.transpose(0, 1)).matmul(this.lora_B.transpose(0, 1));
  }
}

/** What an adapter can lie over. */
type Adaptable = Linear | Conv2d | LoraLayer;

const isAdaptable = (part: unknown): part is Adaptable =>
  part instanceof Linear || part instanceof Conv2d || part instanceof LoraLayer;

/** Size, scale and place of an adapter. Source: Hu et al. 2021, section 4.1: ΔW = alpha/rank · B·A. */
export interface LoraOptions {
  rank: number;
  /** Default: the rank, so that ΔW = B·A. */
  alpha?: number;
  /** Ends of the names of the layers that get an adapter. */
  targets?: readonly string[];
}

/** Adapters that are merged into a weight, in order: they come out in the opposite one, or bits are lost. */
const mergedInto = new WeakMap<Tensor, Lora[]>();

/** Adapters inside a module. Off, the module is the base again: that is SPO's reference model. */
export class Lora {
  readonly #module: Module;
  readonly #layers: ReadonlyMap<string, LoraLayer>;
  readonly #state: LoraState;
  /** Weights before a merge, so that unmerging gives back their exact bits. */
  readonly #unmerged = new Map<string, Tensor>();

  /** @internal Use `addLora` or `applyLora`. */
  constructor(module: Module, layers: ReadonlyMap<string, LoraLayer>, state: LoraState) {
    this.#module = module;
    this.#layers = layers;
    this.#state = state;
  }

  /** The adapted layers by their names in the module. */
  get layers(): ReadonlyMap<string, LoraLayer> {
    return this.#layers;
  }

  /** The trainable weights: `<module>.lora.down.weight` and `.up.weight`, as diffusers names them. */
  namedParameters(): Map<string, Tensor> {
    return new Map(
      [...this.#layers].flatMap(([name, layer]): [string, Tensor][] => [
        [`${name}.lora.down.weight`, layer.lora_A],
        [`${name}.lora.up.weight`, layer.lora_B],
      ]),
    );
  }

  parameters(): Tensor[] {
    return [...this.namedParameters().values()];
  }

  get scale(): number {
    return this.#state.scale;
  }

  /** Strength of the adapter; 1 is as trained. Not while merged. */
  set scale(value: number) {
    if (this.#state.merged) throw new Error("Lora: unmerge before changing the scale");
    this.#state.scale = value;
  }

  /** Runs `fn` with the adapter off. */
  without<T>(fn: () => T): T {
    if (this.#state.merged) throw new Error("Lora: the adapter is merged; it cannot be switched off");
    const before = this.#state.on;
    this.#state.on = false;
    try {
      return fn();
    } finally {
      this.#state.on = before;
    }
  }

  /** Runs `fn` with the adapter added into the weights: a UNet pass then costs what the base's does. For sampling in float32. */
  merged<T>(fn: () => T): T {
    this.merge();
    try {
      return fn();
    } finally {
      this.unmerge();
    }
  }

  /** W ← W + ΔW. In half precision this loses bits of ΔW; in float32 outputs move by rounding only. */
  merge(): void {
    if (this.#state.merged) return;
    this.#requireFull();
    noGrad(() => {
      for (const [name, layer] of this.#layers) {
        scope(() => {
          const before = layer.weight.detach().clone();
          layer.weight.copy_(before.add(layer.delta()));
          this.#unmerged.set(name, keep(before));
        });
        mergedInto.set(layer.weight, [...(mergedInto.get(layer.weight) ?? []), this]);
      }
    });
    this.#state.merged = true;
  }

  /** Gives the weights back, bit for bit. Of several merged adapters the last comes out first. */
  unmerge(): void {
    if (!this.#state.merged) return;
    for (const { weight } of this.#layers.values()) {
      if (mergedInto.get(weight)?.at(-1) !== this)
        throw new Error("Lora: another adapter was merged after this one; unmerge that first");
    }
    noGrad(() => {
      for (const [name, before] of this.#unmerged) {
        const { weight } = this.#layers.get(name) as LoraLayer;
        weight.copy_(before);
        before.dispose();
        mergedInto.get(weight)?.pop();
      }
    });
    this.#unmerged.clear();
    this.#state.merged = false;
  }

  /** Takes the adapters out: the module has its own layers again. Of several adapters the last comes out first. */
  remove(): void {
    const modules = this.#module.modules();
    for (const [name, layer] of this.#layers) {
      if (modules.get(name) !== layer)
        throw new Error(`Lora: another adapter lies over ${name}; remove that first`);
    }
    this.unmerge();
    for (const [name, layer] of this.#layers) {
      put(this.#module, name, layer.below);
      layer.lora_A.dispose();
      layer.lora_B.dispose();
    }
  }

  /** Adds the adapters into the weights for good and takes them out: the module is a plain model, ready to be saved. */
  fuse(): void {
    this.#requireFull();
    noGrad(() => {
      for (const layer of this.#layers.values()) {
        if (mergedInto.get(layer.weight)?.length)
          throw new Error("Lora: unmerge all adapters before one is fused");
        scope(() => void layer.weight.copy_(layer.weight.add(layer.delta())));
      }
    });
    this.remove();
  }

  #requireFull(): void {
    if ([...this.#layers.values()].some(({ weight_scale }) => weight_scale))
      throw new Error("Lora: weights in 8 bits take no adapter in");
  }
}

/**
 * Puts an adapter on every linear map or convolution whose name ends in one of `targets`; everything else stops learning.
 *
 * Throws a UserError (`CONFIG`) for a target that names no such layer. A ~ N(0, (1/rank)²), B = 0: a fresh adapter changes nothing.
 * Source: Hu et al. 2021, section 4.1; peft's `gaussian`.
 */
export function addLora(
  module: Module,
  { rank, alpha = rank, targets = ATTENTION_TARGETS }: LoraOptions,
  generator: Generator,
): Lora {
  const adaptable = [...module.modules()].filter(([, part]) => isAdaptable(part)).map(([name]) => name);
  const isOf = (end: string, name: string): boolean => name === end || name.endsWith(`.${end}`);
  const unknown = targets.filter((end) => !adaptable.some((name) => isOf(end, name)));
  if (unknown.length > 0) {
    const ends = [...new Set(adaptable.map((name) => name.replace(/^.*\.(?=[a-z])/, "")))];
    throw new UserError(`A LoRA can lie over no layer named ${unknown.join(", ")}: the model has none.`, {
      code: "CONFIG",
      hint: `Names of its layers end in ${ends.join(", ")}.`,
    });
  }
  const names = adaptable.filter((name) => targets.some((end) => isOf(end, name)));
  const lora = attach(module, new Map(names.map((name) => [name, { rank, alpha }])));
  for (const layer of lora.layers.values()) {
    const { device } = layer.weight;
    scope(() => {
      setWeights(
        layer,
        zeros(layer.lora_A.shape)
          .normal_(0, 1 / rank, { generator }) // where the generator is: the same on every device
          .to({ device }),
        zeros(layer.lora_B.shape, { device }),
      );
    });
  }
  return lora;
}

/** @internal Puts layers without values over those that are named; each must be a linear map or a convolution. */
export function attach(module: Module, layers: ReadonlyMap<string, { rank: number; alpha: number }>): Lora {
  const modules = module.modules();
  const state: LoraState = { on: true, merged: false, scale: 1 };
  module.requiresGrad_(false);
  const attached = new Map<string, LoraLayer>();
  for (const [name, { rank, alpha }] of layers) {
    const layer = new LoraLayer(modules.get(name) as Adaptable, rank, alpha, state);
    put(module, name, layer);
    attached.set(name, layer);
  }
  return new Lora(module, attached, state);
}

/** @internal Gives a layer its values, which it then trains. down, up: of the shapes of lora_A and lora_B. */
export function setWeights(layer: LoraLayer, down: Tensor, up: Tensor): void {
  noGrad(() => {
    layer.lora_A.assign(down);
    layer.lora_B.assign(up);
  });
  // The adapter learns in float32 even where the base is in half precision.
  layer.lora_A.requiresGrad = true;
  layer.lora_B.requiresGrad = true;
}

/** @internal The shapes that an adapter of this layer must have; undefined where none can lie. */
export function adapterShapes(
  part: Module | undefined,
  rank: number,
): { down: readonly number[]; up: readonly number[] } | undefined {
  if (!isAdaptable(part)) return undefined;
  const [outputs, ...inputs] = part.weight.shape as [number, ...number[]];
  return { down: [rank, ...inputs], up: inputs.length > 1 ? [outputs, rank, 1, 1] : [outputs, rank] };
}

function put(module: Module, name: string, layer: Module): void {
  const path = name.split(".");
  const last = path.pop() as string;
  // Parents are modules or arrays; both are plain property bags here.
  let parent = module as unknown as Record<string, unknown>;
  for (const part of path) parent = parent[part] as Record<string, unknown>;
  parent[last] = layer;
}
