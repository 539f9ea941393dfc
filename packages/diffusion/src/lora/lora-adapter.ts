// An adapter, independent of file layouts and models: layouts are read into it and written from it.
import { type Device, type Module, noGrad, scope, type Tensor } from "@spo/torch";
import { type Misfit, refuseMisfits } from "../layouts/misfits.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import { adapterShapes, attach, type Lora, type LoraLayer, setWeights } from "./lora.js";

/** Low-rank change of one layer: ΔW = (alpha/rank)·up·down, rank = down's first size. */
export interface LoraWeights {
  /** [rank, in], or [rank, in, k, k] over a convolution */
  down: Tensor;
  /** [out, rank], or [out, rank, 1, 1] over a convolution */
  up: Tensor;
  alpha: number;
}

/** Layers by the part of the pipeline and the module's name in it: `unet.down_blocks.0.….to_q`, `text_encoder.text_model.….q_proj`. */
export type LoraAdapter = Map<string, LoraWeights>;

/** Layers that an error names; a file for another model has hundreds. */
const SHOWN = 5;

/** `unet.a.b` → [`unet`, `a.b`]. */
export function splitPart(layer: string): [part: string, module: string] {
  const dot = layer.indexOf(".");
  return [layer.slice(0, dot), layer.slice(dot + 1)];
}

/** An adapter's values, over the models' own memory. loras: by the part of the pipeline, in the order of the file. */
export function adapterOf(loras: Readonly<Record<string, Lora>>): LoraAdapter {
  const adapter: LoraAdapter = new Map();
  for (const [part, { layers }] of Object.entries(loras)) {
    for (const [name, layer] of layers)
      adapter.set(`${part}.${name}`, { down: layer.lora_A, up: layer.lora_B, alpha: layer.alpha });
  }
  return adapter;
}

/** Frees an adapter's tensors. */
export function disposeAdapter(adapter: LoraAdapter): void {
  for (const { down, up } of adapter.values()) {
    down.dispose();
    up.dispose();
  }
}

/**
 * Lays an adapter over the models, in float32: one `Lora` for each part that it changes. The models' own weights stop learning.
 *
 * Supported layers: linear maps and convolutions. Throws a UserError that lists every layer that is missing or has another shape; the
 * models are then as they were.
 */
export function applyAdapter(
  models: PipelineModels,
  adapter: LoraAdapter,
  source = "the adapter",
): Record<string, Lora> {
  const faults: Misfit[] = [];
  const modules = new Map(
    Object.entries(models).map(([part, model]): [string, Map<string, Module>] => [part, model.modules()]),
  );
  for (const [layer, { down, up }] of adapter) {
    const [part, name] = splitPart(layer);
    const known = modules.get(part);
    const module = known?.get(name);
    const rank = down.shape[0] as number;
    const wanted = adapterShapes(module, rank);
    if (!known) faults.push([layer, "a part that this model does not have or that was not given"]);
    else if (!module) faults.push([layer, "not in the model"]);
    else if (!wanted) faults.push([layer, "neither a linear map nor a convolution"]);
    else if (!fits(down.shape, wanted.down) || !fits(up.shape, wanted.up))
      faults.push([
        layer,
        `file [${down.shape}] and [${up.shape}], model [${wanted.down}] and [${wanted.up}]`,
      ]);
  }
  refuseMisfits(
    `${source} does not fit this model: ${faults.length} of ${adapter.size} layers`,
    faults,
    "An adapter fits only the family that it was trained on.",
    SHOWN,
  );
  const loras: Record<string, Lora> = {};
  for (const [part, model] of Object.entries(models)) {
    const layers = new Map(
      [...adapter]
        .filter(([layer]) => splitPart(layer)[0] === part)
        .map(([layer, w]) => [splitPart(layer)[1], w]),
    );
    if (layers.size === 0) continue;
    const lora = attach(
      model,
      new Map([...layers].map(([name, { down, alpha }]) => [name, { rank: down.shape[0] as number, alpha }])),
    );
    for (const [name, { down, up }] of layers) {
      const layer = lora.layers.get(name) as LoraLayer;
      noGrad(() =>
        scope(() =>
          setWeights(
            layer,
            ownCopy(down, layer.weight.device).reshape([...layer.lora_A.shape]),
            ownCopy(up, layer.weight.device).reshape([...layer.lora_B.shape]),
          ),
        ),
      );
    }
    loras[part] = lora;
  }
  return loras;
}

/** In float32, and always one copy: training would write into the file's memory, and a second use of the adapter would see it. */
const ownCopy = (x: Tensor, device: Device): Tensor =>
  x.dtype === "float32" && x.device === device
    ? x.detach().clone()
    : x.detach().to({ dtype: "float32", device });

/** Equal but for sizes of 1 at the end: files store the adapter of a 1×1 convolution either way. */
function fits(found: readonly number[], wanted: readonly number[]): boolean {
  const trimmed = (shape: readonly number[]): string => shape.slice(0, 2).join() + kernel(shape);
  const kernel = (shape: readonly number[]): string =>
    shape.slice(2).some((size) => size !== 1) ? `,${shape.slice(2)}` : "";
  return trimmed(found) === trimmed(wanted);
}
