import { bootstrap, type Estimate } from "@spo/records";
import { noGrad, scope, type Tensor, tensor } from "@spo/torch";

/** Features of images and the group (the prompt) that each belongs to. */
export interface GroupedFeatures {
  /** [n][d] */
  features: readonly number[][];
  groups: readonly string[];
}

/**
 * Kernel inception distance: unbiased squared MMD with the kernel (a·b/d + 1)³ on features, each standardised over the real ones; with
 * its 95 % bootstrap interval over the groups.
 *
 * Every group counts alike, whatever its number of images (at least two real and two generated ones), so that prompts are no difference
 * between real and generated. 0 for equal distributions; may be a little below. Source: Bińkowski et al. 2018, section 3.
 */
export function kernelDistance(real: GroupedFeatures, generated: GroupedFeatures): Estimate {
  const names = [...new Set(generated.groups)];
  const rowsOf = ({ groups }: GroupedFeatures): number[][] =>
    names.map((name) => groups.flatMap((group, row) => (group === name ? [row] : [])));
  const [r, g] = [rowsOf(real), rowsOf(generated)];
  const { rr, gg, rg } = kernels(real.features, generated.features);
  const [n, m] = [real.features.length, generated.features.length];
  /** What a pair of groups adds to the distance. */
  const share = names.map((_, a) =>
    names.map(
      (_, b) =>
        blockMean(rr, n, r[a] as number[], r[b] as number[], a === b) +
        blockMean(gg, m, g[a] as number[], g[b] as number[], a === b) -
        blockMean(rg, m, r[a] as number[], g[b] as number[], false) -
        blockMean(rg, m, r[b] as number[], g[a] as number[], false),
    ),
  );
  return bootstrap(names.length, (drawn) => {
    const own = drawn.reduce((sum, a) => sum + (share[a]?.[a] as number), 0) / drawn.length;
    let cross = 0;
    let pairs = 0;
    for (const a of drawn) {
      for (const b of drawn) {
        if (a === b) continue; // also for two draws of one group, which would otherwise count double
        cross += share[a]?.[b] as number;
        pairs++;
      }
    }
    const alone = 1 / drawn.length;
    return pairs === 0 ? own : alone * own + (1 - alone) * (cross / pairs);
  });
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

/** Mean of the kernel over rows × columns; `different` leaves out a row with itself. */
function blockMean(
  kernel: Float32Array,
  width: number,
  rows: readonly number[],
  columns: readonly number[],
  different: boolean,
): number {
  let sum = 0;
  let count = 0;
  for (const i of rows) {
    for (const j of columns) {
      if (different && i === j) continue;
      sum += kernel[i * width + j] as number;
      count++;
    }
  }
  return sum / count;
}
