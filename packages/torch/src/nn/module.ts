import { checkOptions, wrongArgument } from "../arguments.js";
import { type Device, type DType, isFloating } from "../dtype.js";
import { UserError } from "../errors.js";
import { Generator } from "../generator.js";
import { loadingDevice } from "../loading-device.js";
import { noGrad } from "../modes.js";
import { empty, zeros } from "../ops.gen.js";
import { keep, scope } from "../scope.js";
import { Tensor, type TensorOptions } from "../tensor.js";
import { isOfQuantization, warnOfUnused } from "../weights/unused-entries.js";
import { reorder, reorderForCpu, reorderLater } from "./kernel-order.js";
import { replace } from "./parameter.js";

/**
 * Base of layers and models. Public fields that are tensors, modules or arrays of modules are the state dict, in the order of the
 * fields: `to_out = [linear]` gives `to_out.0.weight`. Anything else is `#private`, so the walk never meets it.
 *
 * A new module has shapes only (device `meta`) and costs nothing. `loadWeights` or `initialize` gives it values.
 */
export abstract class Module {
  /** Sets fresh values for the parameters that this module itself holds, in place. Layers override it. */
  reset?(generator: Generator): void;

  /** Parameters by their dotted names. */
  namedParameters(): Map<string, Tensor> {
    const found = new Map<string, Tensor>();
    for (const [prefix, module] of this.modules()) {
      for (const [name, value] of Object.entries(module)) {
        if (value instanceof Tensor) found.set(prefix ? `${prefix}.${name}` : name, value);
      }
    }
    return found;
  }

  parameters(): Tensor[] {
    return [...this.namedParameters().values()];
  }

  /** This module (as `""`) and all below it, by their dotted names. */
  modules(): Map<string, Module> {
    const found = new Map<string, Module>();
    const walk = (module: Module, prefix: string): void => {
      found.set(prefix, module);
      for (const [name, value] of Object.entries(module)) visit(value, prefix ? `${prefix}.${name}` : name);
    };
    const visit = (value: unknown, name: string): void => {
      if (value instanceof Module) walk(value, name);
      else if (Array.isArray(value))
        for (const [i, element] of value.entries()) visit(element, `${name}.${i}`);
    };
    walk(this, "");
    return found;
  }

  /** Whether backward computes gradients for all parameters below. */
  requiresGrad_(on = true): this {
    for (const parameter of this.parameters()) parameter.requiresGrad = on;
    return this;
  }

  /** Moves and converts all parameters below, in place. */
  to(options: { dtype?: DType; device?: Device }): this {
    checkOptions(`${this.constructor.name}.to`, options);
    const { dtype, device } = options;
    for (const parameter of this.parameters()) {
      const changed = noGrad(() =>
        scope(() =>
          parameter.detach().to({ device, dtype: isFloating(parameter.dtype) ? dtype : undefined }),
        ),
      );
      set(parameter, changed);
    }
    return this;
  }

  /**
   * Puts all convolution kernels below into an order, in place: the maps follow it. Shapes and values stay. A CPU's come into channels-last
   * order without it.
   */
  arrange_(format: "contiguous" | "channels_last"): this {
    for (const parameter of this.parameters()) reorder(parameter, format);
    return this;
  }

  /** Frees all parameters below. */
  dispose(): void {
    for (const parameter of this.parameters()) parameter.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function set(parameter: Tensor, value: Tensor): void {
  replace(parameter, value);
  reorderForCpu(parameter);
}

/** How weights come into a module. */
export interface LoadOptions {
  /** Name of the file for messages. */
  source?: string;
  /** Names in the file that are known to be no weights of this module; of others that it does not have there is one warning. */
  ignore?: (name: string) => boolean;
  /** Called with the names that are passed over, in place of the warning. */
  onUnused?: (names: readonly string[]) => void;
  /** Default: the file's own. */
  dtype?: DType;
  /** Default: that of `loadingOn`, else where the file's tensors are. */
  device?: Device;
  /** Frees each tensor of `weights` as soon as the module has its values, so that no two copies of the whole stand in memory. */
  consume?: boolean;
}

/** The same memory where dtype and device fit, else a copy. A converted kernel is copied into a CPU's order at once. */
function placed(value: Tensor, { dtype = value.dtype, device = value.device }: TensorOptions): Tensor {
  // float64 is converted before it is moved: not every device has it.
  return value.ndim === 4 && device === "cpu" && dtype !== value.dtype
    ? value._toCopy({ dtype, device, memoryFormat: "channels_last" })
    : scope(() => (value.dtype === "float64" ? value.to({ dtype }) : value).to({ dtype, device }));
}

/**
 * Gives a module the values of a file, which must have each of its weights in its shape. Anything else in the file is passed over, with one
 * warning.
 *
 * Tensors are taken over without a copy where dtype and device fit: a mapped file is then read when a weight is first used. A CPU's
 * convolution kernels are then copied into channels-last order.
 * Throws a UserError that lists every weight that is missing, misshapen or of whole numbers, and then the unused names too.
 */
export function loadWeights(
  module: Module,
  weights: ReadonlyMap<string, Tensor>,
  {
    source = "the weights",
    ignore = () => false,
    onUnused = (names) => warnOfUnused(source, names),
    dtype,
    device = loadingDevice(),
    consume = false,
  }: LoadOptions = {},
): void {
  if (!(module instanceof Module)) throw wrongArgument("loadWeights", "module", "a Module", module);
  if (!(weights instanceof Map))
    throw wrongArgument("loadWeights", "weights", "a Map of Tensors by name", weights);
  const wanted = module.namedParameters();
  const faults: [name: string, what: string][] = [];
  for (const [name, parameter] of wanted) {
    const found = weights.get(name);
    const shape = `[${parameter.shape.join(", ")}]`;
    if (!found) faults.push([name, `missing in the file, ${shape} in the model`]);
    else if (`[${found.shape.join(", ")}]` !== shape)
      faults.push([name, `file [${found.shape.join(", ")}], model ${shape}`]);
    else if (isFloating(parameter.dtype) && !isFloating(found.dtype))
      faults.push([name, `${found.dtype} in the file: quantized weights are not supported`]);
  }
  const unused = [...weights.keys()].filter((name) => !wanted.has(name) && !ignore(name));
  const quantized = unused.filter(isOfQuantization);
  if (faults.length > 0 || quantized.length > 0) {
    const what = (name: string): string =>
      isOfQuantization(name)
        ? "belongs to quantized weights, which are not supported"
        : "in the file, not in the model";
    faults.push(...unused.map((name): [string, string] => [name, what(name)]));
    const shown = faults.slice(0, 40);
    const width = Math.max(...shown.map(([name]) => name.length));
    const rest = faults.length > shown.length ? `\n  … and ${faults.length - shown.length} more` : "";
    throw new UserError(
      `${module.constructor.name}: ${faults.length} weight${faults.length === 1 ? "" : "s"} of ${source} ${faults.length === 1 ? "does" : "do"} not fit.\n` +
        shown.map(([name, what]) => `  ${name.padEnd(width)}  ${what}`).join("\n") +
        rest,
      {
        code: "DATA",
        hint: faults.some(([, what]) => what.includes("quantized"))
          ? "Give the weights as numbers with a point: in float32, float16, bfloat16 or float8."
          : "Load it with the config.json that came with it.",
      },
    );
  }
  if (unused.length > 0) onUnused(unused);
  noGrad(() => {
    for (const [name, parameter] of wanted) {
      const found = weights.get(name) as Tensor;
      const value = placed(found, { device, dtype: isFloating(found.dtype) ? dtype : undefined });
      if (consume) found.dispose();
      replace(parameter, value);
    }
  });
  reorderLater([...wanted.values()]);
}

/** Gives a module fresh values, layer by layer in the order of its fields; the same seed gives the same values. */
export function initialize(
  module: Module,
  generator: Generator,
  { dtype = "float32", device = "cpu" }: { dtype?: DType; device?: Device } = {},
): void {
  if (!(module instanceof Module)) throw wrongArgument("initialize", "module", "a Module", module);
  if (!(generator instanceof Generator))
    throw wrongArgument("initialize", "generator", "a Generator", generator);
  noGrad(() => {
    for (const part of module.modules().values()) {
      for (const value of Object.values(part)) {
        if (!(value instanceof Tensor)) continue;
        const fresh = zeros(value.shape, { dtype, device });
        value.assign(fresh);
        fresh.dispose();
      }
      part.reset?.(generator);
      // After the draws, which fill the memory in its order.
      for (const value of Object.values(part)) {
        if (value instanceof Tensor) reorderForCpu(value);
      }
    }
  });
}

/** Copies every parameter's value from a module of the same tree: a frozen reference, an average. One in 8 bits needs a blank target. */
export function copyWeights(from: Module, to: Module): void {
  if (!(from instanceof Module)) throw wrongArgument("copyWeights", "from", "a Module", from);
  if (!(to instanceof Module)) throw wrongArgument("copyWeights", "to", "a Module", to);
  noGrad(() => {
    const source = from.namedParameters();
    for (const [name, part] of to.modules()) {
      const scale = source.get(name ? `${name}.weight_scale` : "weight_scale");
      if (scale && !("weight_scale" in part && part.weight_scale))
        Object.assign(part, { weight_scale: keep(empty(scale.shape, { device: "meta" })) });
    }
    for (const [name, parameter] of to.namedParameters()) {
      const value = source.get(name);
      if (!value) throw new Error(`${name} is not in ${from.constructor.name}`);
      if (parameter.device === "meta") set(parameter, value.clone());
      else if (parameter.dtype !== "int8" && value.dtype === "int8")
        throw new Error(`${name} is in 8 bits in ${from.constructor.name}, and has other values already`);
      else parameter.copy_(value);
    }
  });
}
