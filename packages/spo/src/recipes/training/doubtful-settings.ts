/** Settings of a training that counts its updates. */
export interface StepSettings {
  steps: number;
  /** Steps until the full learning rate. */
  warmup: number;
  /** Pairs that are measured; 0: none. */
  evalPairs: number;
  /** Steps between measurements. */
  evalEvery: number;
}

/** Settings that are allowed but hardly intended → words for a warning. */
export function doubtfulSettings({ steps, warmup, evalPairs, evalEvery }: StepSettings): string[] {
  const found: string[] = [];
  if (warmup >= steps && warmup > 0) {
    const most = Math.round((100 * (steps - 1)) / warmup);
    found.push(
      `warmup is ${warmup} and there are ${steps} steps: the learning rate gets to ${most} % of its value at most. Give a smaller warmup, or more steps.`,
    );
  }
  if (evalPairs > 0 && steps > 1 && evalEvery > steps)
    found.push(
      `evalEvery is ${evalEvery} and there are ${steps} steps: nothing is measured between the first and the last one. Give a smaller evalEvery.`,
    );
  return found;
}

/** Held-out accuracy of a preference model by `accuracy/t=…` → a warning where it is below one half on clean images, or anywhere. */
export function doubtfulJudge(accuracy: Readonly<Record<string, number | null>>): string | undefined {
  const below = Object.entries(accuracy).flatMap(([name, value]) =>
    value !== null && value < 0.5
      ? [`${(100 * value).toFixed(0)} % at t = ${name.replace("accuracy/t=", "")}`]
      : [],
  );
  if (below.length === 0) return undefined;
  return `the preference model is right on less than half of the held-out pairs: ${below.join(", ")}. What SPO would learn from it there is no preference; train it longer, on more pairs, or look at the labels.`;
}
