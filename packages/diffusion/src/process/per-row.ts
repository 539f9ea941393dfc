// Coefficients of a batch: the same for all rows, or one a row. On CPU both give the same bits but where `plus` says otherwise.
import { type Tensor, tensor } from "@spo/torch";

/** A number for all rows of a batch, or one for each of them. */
export type PerRow = number | readonly number[];

/** `of` the numbers of each row; a number where all rows share every one of them. Lists are of one length. */
export function perRow(values: readonly PerRow[], of: (...ofRow: number[]) => number): PerRow {
  const rows = values.find((value) => typeof value !== "number");
  if (rows === undefined) return of(...(values as number[]));
  return rows.map((_, i) => of(...values.map((value) => at(value, i))));
}

const at = (value: PerRow, row: number): number =>
  typeof value === "number" ? value : (value[row] as number);

/** A coefficient for a tensor like `like` [n, ...]: a number, or a tensor [n, 1, ...]. */
export function factor(value: PerRow, like: Tensor): number | Tensor {
  if (typeof value === "number") return value;
  return tensor([...value], {
    shape: [value.length, ...like.shape.slice(1).map(() => 1)],
    device: like.device,
  });
}

/** x + by·y. x, y [n, ...]. A list's products are rounded before they are added, a number's are not. */
export function plus(x: Tensor, y: Tensor, by: PerRow): Tensor {
  return typeof by === "number" ? x.add(y, { alpha: by }) : x.add(y.mul(factor(by, y)));
}
