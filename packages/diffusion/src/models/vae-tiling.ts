// Large images by tiles: the VAE's memory then depends on the tile, not on the image.
import { cat, scope, type Tensor, tensor, UserError } from "@spo/torch";

/** Sides of a square tile before and after the VAE's half that is run over it. */
export interface TileSides {
  inside: number;
  outside: number;
}

/** Share of a tile that lies over its neighbour. */
const OVERLAP = 0.25;

/**
 * Runs `fn` over overlapping tiles and blends them linearly, from the tile above and from the one at the left.
 *
 * x [b, c, h, w] → [b, c′, h·r, w·r], r = outside / inside. The result is not that of the whole image: each tile has norms and attention of
 * its own. Throws a UserError (`CONFIG`) for tiles too small to overlap. Source: diffusers AutoencoderKL.tiled_decode and _tiled_encode,
 * number for number.
 */
export function byTiles(x: Tensor, fn: (tile: Tensor) => Tensor, { inside, outside }: TileSides): Tensor {
  const [, , height, width] = x.shape as [number, number, number, number];
  const stride = Math.floor(inside * (1 - OVERLAP));
  if (stride < 1 || outside < 1) {
    throw new UserError(`A VAE whose sample_size gives tiles of ${inside} cannot go by tiles.`, {
      code: "CONFIG",
      hint: "Leave tiling off for this model.",
    });
  }
  const extent = Math.floor(outside * OVERLAP);
  const limit = outside - extent;
  return scope(() => {
    const strips: Tensor[] = [];
    let above: Tensor[] = [];
    for (let top = 0; top < height; top += stride) {
      const { row, strip } = scope(() => {
        const row: Tensor[] = [];
        for (let left = 0; left < width; left += stride) {
          const j = row.length;
          row.push(
            scope(() => {
              let tile = fn(cut(cut(x, 2, top, inside), 3, left, inside));
              if (above[j]) tile = blend(above[j], tile, 2, extent);
              return row[j - 1] ? blend(row[j - 1] as Tensor, tile, 3, extent) : tile;
            }),
          );
        }
        const kept = row.map((tile) => cut(cut(tile, 2, 0, limit), 3, 0, limit));
        return { row, strip: cat(kept, 3) };
      });
      for (const tile of above) tile.dispose();
      above = row;
      strips.push(strip);
    }
    return cat(strips, 2);
  });
}

/** At most `length` places from `start` on. */
const cut = (x: Tensor, dim: number, start: number, length: number): Tensor =>
  x.narrow(dim, start, Math.min(length, (x.shape[dim] as number) - start));

/** Blends the end of `before` into the beginning of `after` along a dimension, over `extent` places. */
function blend(before: Tensor, after: Tensor, dim: 2 | 3, extent: number): Tensor {
  const size = after.shape[dim] as number;
  const count = Math.min(before.shape[dim] as number, size, extent);
  if (count === 0) return after;
  return scope(() => {
    const weight = (of: (share: number) => number): Tensor =>
      tensor(
        Array.from({ length: count }, (_, i) => of(i / count)),
        { device: after.device, shape: dim === 2 ? [count, 1] : [count] },
      );
    const end = before.narrow(dim, (before.shape[dim] as number) - count, count);
    const start = after.narrow(dim, 0, count);
    const over = end.mul(weight((share) => 1 - share)).add(start.mul(weight((share) => share)));
    return cat([over.to({ dtype: after.dtype }), after.narrow(dim, count, size - count)], dim);
  });
}
