/** One measurement of a training: its own score, and what scorers that train nothing say. Higher is better in all. */
export interface GuardMeasurement {
  step: number;
  training: number;
  heldOut: number;
  /** Mean distance between two samples of one prompt. */
  diversity: number;
}

/** What a guard sees in the measurements so far. */
export interface HeldOutVerdict {
  /** The measurement of the highest held-out score; of equal ones the first. */
  best: GuardMeasurement;
  /** Measurements since. */
  since: number;
  /** Whether the training's score has risen since while the held-out score has not. */
  isExploited: boolean;
}

/**
 * Whether a training exploits its judge: for `patience` measurements the held-out score has not been as high as at its best, and the
 * training's own score is above what it was there. Measurements that are not finite are passed over; undefined where there is no other.
 */
export function heldOutVerdict(
  history: readonly GuardMeasurement[],
  patience: number,
): HeldOutVerdict | undefined {
  const known = history.filter(({ training, heldOut }) => Number.isFinite(training + heldOut));
  let place = 0;
  for (const [i, { heldOut }] of known.entries())
    if (heldOut > (known[place] as GuardMeasurement).heldOut) place = i;
  const [best, last] = [known[place], known.at(-1)];
  if (best === undefined || last === undefined) return undefined;
  const since = known.length - 1 - place;
  return { best, since, isExploited: since >= patience && last.training > best.training };
}

/** The measurements whose diversity is at least a share of the first's, which is the base's; one without diversity counts among them. */
export const diverseOnes = (history: readonly GuardMeasurement[], share: number): GuardMeasurement[] =>
  history.filter(({ diversity }) => !(diversity < share * (history[0] as GuardMeasurement).diversity));
