// Adapters of maps that the original code has several of in one: q, k and v, or with them a feed-forward's first.
import { cat, type Module, type Tensor, UserError, zeros } from "@spo/torch";
import type { Family } from "../families/family.js";
import type { PipelineModels } from "../layouts/pipeline-folder.js";
import type { LoraAdapter, LoraWeights } from "./lora-adapter.js";

/** A map of the original code, by its part and name there: `transformer.double_blocks.0.img_attn.qkv`. */
export interface FusedLayer {
  part: string;
  original: string;
  /** The layers that it holds, one below the other, with their rows. */
  layers: readonly { layer: string; rows: number }[];
  /** One layer, whose halves the original has the other way round. */
  halvesSwapped: boolean;
}

/** Maps of a family's original code that are not one of ours as it is, by `<part>.<original name>`. */
export function fusedLayers(family: Family, models: PipelineModels): Map<string, FusedLayer> {
  const found = new Map<string, FusedLayer>();
  for (const [part, { lora }] of Object.entries(family.parts)) {
    const model = models[part];
    if (!model || !lora?.originals) continue;
    const modules = model.modules();
    for (const { original, ours, halvesSwapped = false } of lora.originals(model)) {
      if (ours.length === 1 && !halvesSwapped) continue;
      const layers = ours.flatMap((name) => {
        const rows = rowsOf(modules.get(name));
        return rows === undefined ? [] : [{ layer: `${part}.${name}`, rows }];
      });
      if (layers.length === ours.length)
        found.set(`${part}.${original}`, { part, original, layers, halvesSwapped });
    }
  }
  return found;
}

const rowsOf = (module: Module | undefined): number | undefined =>
  (module as { weight?: Tensor } | undefined)?.weight?.shape[0];

/**
 * Adapters of fused maps as those of the layers in them.
 *
 * One whose up matrix is block-diagonal is an adapter for each layer; a layer that it leaves as it is has none. Any other is shared: all
 * layers have its down matrix, and their rows of the up matrix. Throws a UserError (`DATA`) for rows that do not fit, and for a layer that
 * has an adapter of its own too.
 */
export function splitFused(
  adapter: LoraAdapter,
  fused: ReadonlyMap<string, FusedLayer>,
  path: string,
): LoraAdapter {
  const split: LoraAdapter = new Map();
  const put = (layer: string, weights: LoraWeights): void => {
    if (split.has(layer))
      throw new UserError(`${path} has two adapters of ${layer}, one of them in a fused map.`, {
        code: "DATA",
        hint: "Get the file again, or ask whoever made it.",
      });
    split.set(layer, weights);
  };
  for (const [name, weights] of adapter) {
    const whole = fused.get(name);
    if (!whole) put(name, weights);
    else for (const [layer, part] of parts(weights, whole, path)) put(layer, part);
  }
  return split;
}

function parts(
  { down, up, alpha }: LoraWeights,
  { original, layers, halvesSwapped }: FusedLayer,
  path: string,
): LoraAdapter {
  const rows = layers.reduce((sum, { rows }) => sum + rows, 0);
  if (up.shape[0] !== rows)
    throw new UserError(
      `${path}: the up matrix of ${original} has ${up.shape[0]} rows, and the model's map ${rows}.`,
      {
        code: "DATA",
        hint: "An adapter fits only the family that it was trained on.",
      },
    );
  const found: LoraAdapter = new Map();
  if (halvesSwapped) {
    for (const { layer } of layers) found.set(layer, { down, up: swapped(up), alpha });
    return found;
  }
  const rank = (down.shape[0] as number) / layers.length;
  let start = 0;
  const ups = layers.map((each) => {
    start += each.rows;
    return { layer: each.layer, up: up.narrow(0, start - each.rows, each.rows) };
  });
  const isDiagonal =
    Number.isInteger(rank) &&
    ups.every(
      ({ up }, i) =>
        isZero(up.narrow(1, 0, i * rank)) &&
        isZero(up.narrow(1, (i + 1) * rank, (layers.length - i - 1) * rank)),
    );
  for (const [i, { layer, up }] of ups.entries()) {
    if (!isDiagonal) {
      found.set(layer, { down: down.detach(), up, alpha }); // a handle for each
      continue;
    }
    const own = { down: down.narrow(0, i * rank, rank), up: up.narrow(1, i * rank, rank).contiguous() };
    // The original's map is adapted as a whole; a layer that was not has zeros.
    if (!isZero(own.down) || !isZero(own.up)) found.set(layer, { ...own, alpha: alpha / layers.length });
  }
  return found;
}

/**
 * The inverse: adapters of layers as those of the fused maps that they lie in. Those that share a down matrix are stacked; others, and the
 * zeros of a layer without one, make a block-diagonal up matrix.
 */
export function joinFused(adapter: LoraAdapter, fused: ReadonlyMap<string, FusedLayer>): LoraAdapter {
  const joined: LoraAdapter = new Map(adapter);
  for (const [name, { layers, halvesSwapped }] of fused) {
    const present = layers.flatMap(({ layer }) => adapter.get(layer) ?? []);
    const [first] = present;
    if (!first) continue;
    for (const { layer } of layers) joined.delete(layer);
    if (halvesSwapped) joined.set(name, { ...first, up: swapped(first.up) });
    else if (present.length === layers.length && present.every((each) => sharesDown(each, first)))
      joined.set(name, { ...first, up: cat(present.map(({ up }) => up)) });
    else
      joined.set(
        name,
        blockDiagonal(layers.map(({ layer, rows }) => adapter.get(layer) ?? none(first, rows))),
      );
  }
  return joined;
}

/** One adapter of several with a down matrix each. */
function blockDiagonal(parts: readonly LoraWeights[]): LoraWeights {
  const rankOf = ({ down }: LoraWeights): number => down.shape[0] as number;
  const ranks = parts.reduce((sum, part) => sum + rankOf(part), 0);
  const [first] = parts as [LoraWeights];
  const scale = first.alpha / rankOf(first);
  let before = 0;
  const rows = parts.map((part) => {
    const own = part.alpha / rankOf(part);
    // One scale holds for all; where they differ, the matrix makes up for it.
    const up = own === scale ? part.up : part.up.mul(own / scale);
    const [height] = up.shape as [number];
    const { dtype, device } = up;
    const beside = (width: number): Tensor => zeros([height, width], { dtype, device });
    const row = cat([beside(before), up, beside(ranks - before - rankOf(part))], 1);
    before += rankOf(part);
    return row;
  });
  return { down: cat(parts.map(({ down }) => down)), up: cat(rows), alpha: scale * ranks };
}

/** An adapter that changes nothing, like another one. */
function none({ down, up, alpha }: LoraWeights, rows: number): LoraWeights {
  const rank = down.shape[0] as number;
  return {
    down: zeros(down.shape, { dtype: down.dtype, device: down.device }),
    up: zeros([rows, rank], { dtype: up.dtype, device: up.device }),
    alpha,
  };
}

const sharesDown = (a: LoraWeights, b: LoraWeights): boolean =>
  a === b ||
  (a.alpha === b.alpha && a.down.shape.join() === b.down.shape.join() && isZero(a.down.sub(b.down)));

const swapped = (x: Tensor): Tensor => cat(x.chunk(2, 0).toReversed());

const isZero = (x: Tensor): boolean => x.numel === 0 || x.ne(0).any().item() === 0;
