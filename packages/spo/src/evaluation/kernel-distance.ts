import { noGrad, scope, type Tensor, tensor } from "@spo/torch";
import { bootstrap, type Estimate } from "../statistics.js";

/** Features of images and the group (the prompt) that each belongs to. */
export interface GroupedFeatures {
  /** [n][d] */
  features: readonly number[][];
  groups: readonly string[];
}

/**
 * Kernel inception distance: unbiased squared MMD with the kernel (a·b/d + 1)³ on features, each standardised over the real ones; with
 * its 95 % bootstrap interval.
 *
 * 0 for equal distributions; may be a little below. Groups are drawn as wholes, real and generated images of a prompt together; a row
 * that is drawn twice is not compared with itself. Source: Bińkowski et al. 2018, section 3.
 */
export function kernelDistance(real: GroupedFeatures, generated: GroupedFeatures): Estimate {
  const { rr, gg, rg } = kernels(real.features, generated.features);
  const [n, m] = [real.features.length, generated.features.length];
  const groups = [...real.groups, ...generated.groups];
  return bootstrap(
    groups.length,
    (rows) => {
      const [r, g] = [new Float64Array(n), new Float64Array(m)];
      for (const row of rows) {
        if (row < n) r[row] = (r[row] as number) + 1;
        else g[row - n] = (g[row - n] as number) + 1;
      }
      return within(rr, r) + within(gg, g) - 2 * between(rg, r, g);
    },
    { groups },
  );
}

/** Kernel matrices in row-major order: real with real, generated with generated, real with generated. */
function kernels(
  real: readonly number[][],
  generated: readonly number[][],
): { rr: Float32Array; gg: Float32Array; rg: Float32Array } {
  return noGrad(() =>
    scope(() => {
      const r = tensor(real as number[][]);
      const g = tensor(generated as number[][]);
      const mean = r.mean([0], true);
      const std = r.std([0], { keepdim: true }).add(1e-3);
      const [a, b] = [r.sub(mean).div(std), g.sub(mean).div(std)];
      const width = a.shape[1] as number;
      const kernel = (x: Tensor, y: Tensor): Float32Array =>
        x.matmul(y.transpose(0, 1)).div(width).add(1).pow(3).toTypedArray() as Float32Array;
      return { rr: kernel(a, a), gg: kernel(b, b), rg: kernel(a, b) };
    }),
  );
}

/** Mean of k over pairs of different rows, row i weighted by how often it was drawn. */
function within(k: Float32Array, weight: Float64Array): number {
  let sum = 0;
  let total = 0;
  for (const [i, wi] of weight.entries()) {
    if (wi === 0) continue;
    for (const [j, wj] of weight.entries()) {
      if (wj === 0 || i === j) continue;
      sum += wi * wj * (k[i * weight.length + j] as number);
      total += wi * wj;
    }
  }
  return sum / total;
}

function between(k: Float32Array, rows: Float64Array, columns: Float64Array): number {
  let sum = 0;
  let total = 0;
  for (const [i, wi] of rows.entries()) {
    if (wi === 0) continue;
    for (const [j, wj] of columns.entries()) {
      sum += wi * wj * (k[i * columns.length + j] as number);
      total += wi * wj;
    }
  }
  return sum / total;
}
