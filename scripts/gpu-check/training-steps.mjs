// @ts-check
// What a training printed with --json: its steps.

/** @typedef {{ step: number, metrics: Record<string, number | null> }} TrainingStep */

/**
 * The steps of a training's output. Throws where there is none, or a loss is no number.
 *
 * @param {string} output @returns {TrainingStep[]}
 */
export function stepsIn(output) {
  const steps = output
    .split("\n")
    .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : []))
    .filter(({ type }) => type === "step");
  if (steps.length === 0) throw new Error(`it made no step:\n${output.slice(-500)}`);
  for (const { step, metrics } of steps)
    if (!Number.isFinite(metrics.loss)) throw new Error(`the loss of step ${step} is ${metrics.loss}`);
  return steps;
}

/** Figures of a training: how many steps, and the last loss. @param {string} output */
export function lastStep(output) {
  const steps = stepsIn(output);
  return { steps: steps.length, loss: steps.at(-1)?.metrics.loss };
}

/**
 * The largest difference of the losses and gradient norms of two trainings, step by step, relative to the larger of the value and 1e-3;
 * Infinity where they have different steps.
 *
 * @param {readonly TrainingStep[]} expected @param {readonly TrainingStep[]} found
 */
export function farthest(expected, found) {
  if (expected.map(({ step }) => step).join() !== found.map(({ step }) => step).join())
    return Number.POSITIVE_INFINITY;
  const differences = expected.flatMap(({ metrics }, i) =>
    ["loss", "gradNorm"].map((name) => {
      const [a, b] = [metrics[name] ?? 0, found[i]?.metrics[name] ?? 0];
      return Math.abs(a - b) / Math.max(Math.abs(a), 1e-3);
    }),
  );
  return Math.max(...differences);
}
