import {
  Generator,
  keep,
  Linear,
  Module,
  noGrad,
  parameter,
  readSafetensors,
  scope,
  type Tensor,
  UserError,
  writeSafetensors,
  zeros,
} from "@spo/torch";

/** Low-rank adapter of a linear map: y = x·Wᵀ + b + scale·(x·Aᵀ)·Bᵀ. `weight` and `bias` are the base's own tensors. */
export class LoraLinear extends Module {
  readonly weight: Tensor;
  readonly bias?: Tensor;
  /** [rank, in] */
  readonly lora_A: Tensor;
  /** [out, rank] */
  readonly lora_B: Tensor;
  readonly #state: LoraState;
  readonly #base: Linear;
  readonly #alphaOverRank: number;

  constructor(base: Linear, rank: number, alpha: number, state: LoraState) {
    super();
    const [outFeatures, inFeatures] = base.weight.shape as [number, number];
    this.weight = base.weight;
    if (base.bias) this.bias = base.bias;
    this.lora_A = parameter([rank, inFeatures]);
    this.lora_B = parameter([outFeatures, rank]);
    this.#base = base;
    this.#state = state;
    this.#alphaOverRank = alpha / rank;
  }

  get base(): Linear {
    return this.#base;
  }

  /** What the adapter's product is multiplied by; 0 while it is off or merged. */
  get factor(): number {
    return this.#state.on && !this.#state.merged ? this.#state.scale * this.#alphaOverRank : 0;
  }

  /** ΔW = scale·(alpha/rank)·B·A, [out, in]. */
  delta(): Tensor {
    return scope(() => this.lora_B.matmul(this.lora_A).mul(this.#state.scale * this.#alphaOverRank));
  }

  forward(x: Tensor): Tensor {
    const factor = this.factor;
    if (factor === 0) return this.#base.forward(x);
    return scope(() => {
      const low = x
        .to({ dtype: this.lora_A.dtype })
        .matmul(this.lora_A.transpose(0, 1))
        .matmul(this.lora_B.transpose(0, 1));
      const y = this.#base.forward(x);
      return y.add(low.to({ dtype: y.dtype }), { alpha: factor });
    });
  }
}

interface LoraState {
  on: boolean;
  merged: boolean;
  scale: number;
}

export interface LoraOptions {
  rank: number;
  /** Default: the rank, so that ΔW = B·A. */
  alpha?: number;
  /** Ends of the names of the linear maps that get an adapter. */
  targets?: readonly string[];
}

/** The layers that SPO adapts: all attention projections of a UNet. */
export const ATTENTION_TARGETS: readonly string[] = ["to_q", "to_k", "to_v", "to_out.0"];

/** Adapters inside a module. Off, the module is the base again: that is SPO's reference model. */
export class Lora {
  readonly #layers: ReadonlyMap<string, LoraLinear>;
  readonly #state: LoraState;
  readonly #put: (name: string, layer: Module) => void;
  /** Weights before a merge, so that unmerging gives back their exact bits. */
  readonly #unmerged = new Map<string, Tensor>();

  /** @internal Use `addLora`. */
  constructor(
    layers: ReadonlyMap<string, LoraLinear>,
    state: LoraState,
    put: (name: string, layer: Module) => void,
  ) {
    this.#layers = layers;
    this.#state = state;
    this.#put = put;
  }

  /** The adapted layers by their names in the module. */
  get layers(): ReadonlyMap<string, LoraLinear> {
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
    noGrad(() => {
      for (const [name, layer] of this.#layers) {
        scope(() => {
          const before = layer.weight.detach().clone();
          layer.weight.copy_(before.add(layer.delta()));
          this.#unmerged.set(name, keep(before));
        });
      }
    });
    this.#state.merged = true;
  }

  /** Gives the weights back, bit for bit. */
  unmerge(): void {
    if (!this.#state.merged) return;
    noGrad(() => {
      for (const [name, before] of this.#unmerged) {
        this.#layers.get(name)?.weight.copy_(before);
        before.dispose();
      }
    });
    this.#unmerged.clear();
    this.#state.merged = false;
  }

  /** Takes the adapters out: the module has its own layers again. */
  remove(): void {
    this.unmerge();
    for (const [name, layer] of this.#layers) {
      this.#put(name, layer.base);
      layer.lora_A.dispose();
      layer.lora_B.dispose();
    }
  }
}

/**
 * Puts an adapter on every linear map whose name ends in one of `targets`; everything else stops learning.
 *
 * A ~ N(0, (1/rank)²), B = 0: a fresh adapter changes nothing. Source: Hu et al. 2021, section 4.1; peft's `gaussian`.
 */
export function addLora(
  module: Module,
  { rank, alpha = rank, targets = ATTENTION_TARGETS }: LoraOptions,
  generator: Generator,
): Lora {
  const state: LoraState = { on: true, merged: false, scale: 1 };
  const layers = new Map<string, LoraLinear>();
  const put = (name: string, layer: Module): void => {
    const path = name.split(".");
    const last = path.pop() as string;
    // Parents are modules or arrays; both are plain property bags here.
    let parent = module as unknown as Record<string, unknown>;
    for (const part of path) parent = parent[part] as Record<string, unknown>;
    parent[last] = layer;
  };
  module.requiresGrad_(false);
  for (const [name, part] of module.modules()) {
    if (
      !(part instanceof Linear) ||
      !targets.some((target) => name === target || name.endsWith(`.${target}`))
    )
      continue;
    const layer = new LoraLinear(part, rank, alpha, state);
    const { device } = part.weight;
    noGrad(() => {
      const { shape } = layer.lora_A;
      using down = zeros(shape, { device }).normal_(0, 1 / rank, { generator });
      using up = zeros(layer.lora_B.shape, { device });
      layer.lora_A.assign(down);
      layer.lora_B.assign(up);
    });
    // The adapter learns in float32 even where the base is in half precision.
    layer.lora_A.requiresGrad = true;
    layer.lora_B.requiresGrad = true;
    layers.set(name, layer);
    put(name, layer);
  }
  if (layers.size === 0) throw new Error(`addLora: no linear map is named ${targets.join(", ")}`);
  return new Lora(layers, state, put);
}

/** Writes the adapter as diffusers' `save_lora_weights` does: `unet.<module>.lora.down|up.weight`. Alpha is the rank. */
export function saveLora(path: string, lora: Lora, metadata: Readonly<Record<string, string>> = {}): void {
  const tensors = new Map([...lora.namedParameters()].map(([name, value]) => [`unet.${name}`, value]));
  writeSafetensors(path, tensors, { format: "pt", ...metadata });
}

/** Puts an adapter in diffusers' layout on a UNet. Throws a UserError when a name or shape does not fit. */
export function loadLora(unet: Module, path: string): Lora {
  const weights = readSafetensors(path);
  const faults: string[] = [];
  try {
    const linears = [...weights.keys()].flatMap(
      (name) => /^unet\.(.+)\.lora\.down\.weight$/.exec(name)?.[1] ?? [],
    );
    const first = weights.get(`unet.${linears[0]}.lora.down.weight`);
    if (!first)
      throw new UserError(`${path} is no LoRA in diffusers' layout: no name ends in .lora.down.weight.`, {
        code: "DATA",
      });
    const lora = addLora(unet, { rank: first.shape[0] as number, targets: linears }, new Generator(0));
    noGrad(() => {
      for (const [name, target] of lora.namedParameters()) {
        const value = weights.get(`unet.${name}`);
        if (!value || value.shape.join() !== target.shape.join())
          faults.push(`  ${name}  file [${value?.shape ?? "missing"}], model [${target.shape}]`);
        else target.copy_(value);
      }
    });
    if (lora.layers.size < linears.length)
      faults.push(`  ${linears.length - lora.layers.size} layers of the file are not in the model`);
    if (faults.length > 0) {
      lora.remove();
      throw new UserError(`${path} does not fit this UNet:\n${faults.join("\n")}`, { code: "DATA" });
    }
    return lora;
  } finally {
    for (const tensor of weights.values()) tensor.dispose();
  }
}
