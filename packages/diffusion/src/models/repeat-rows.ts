import { cat, type Tensor } from "@spo/torch";

/**
 * x [b, ...] → [rows, ...], repeated as a whole: [x; x; …]. x itself where it has as many rows already.
 *
 * The halves of a guided batch are equal up to the first attention to the text; until then one of them is computed, and this makes two.
 */
export function repeatRows(x: Tensor, rows: number): Tensor {
  const own = x.shape[0] as number;
  if (own === rows) return x;
  if (rows % own !== 0) throw new RangeError(`a context for ${rows} rows does not fit a batch of ${own}`);
  return cat(Array.from({ length: rows / own }, () => x));
}
