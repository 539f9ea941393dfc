// How far people agree beyond chance.

/**
 * Cohen's κ of two people's labels of the same things: 1 is full agreement, 0 what chance gives. NaN where chance alone would agree.
 *
 * labels: one pair a thing. Source: Cohen 1960, equation 1.
 */
export function cohenKappa(labels: readonly (readonly [string, string])[]): number {
  const n = labels.length;
  const share = (side: 0 | 1, label: string): number =>
    labels.filter((pair) => pair[side] === label).length / n;
  const all = [...new Set(labels.flat())];
  const observed = labels.filter(([a, b]) => a === b).length / n;
  const expected = all.reduce((sum, label) => sum + share(0, label) * share(1, label), 0);
  return (observed - expected) / (1 - expected);
}

/**
 * Krippendorff's α for labels without an order, by any number of people, each of whom may have labelled only some things. NaN where there
 * is one label alone.
 *
 * things: the labels of each. Those with fewer than two say nothing. Source: Krippendorff 2011, section C.
 */
export function krippendorffAlpha(things: readonly (readonly string[])[]): number {
  const shared = things.filter((labels) => labels.length > 1);
  const count = new Map<string, number>();
  let n = 0;
  let differing = 0; // pairs of labels of one thing, by 1/(m − 1) as the matrix of coincidences weighs them
  for (const labels of shared) {
    n += labels.length;
    for (const [i, label] of labels.entries()) {
      count.set(label, (count.get(label) ?? 0) + 1);
      for (const [j, other] of labels.entries())
        if (i !== j && label !== other) differing += 1 / (labels.length - 1);
    }
  }
  const counts = [...count.values()];
  const expected = counts.reduce((sum, c) => sum + c * (n - c), 0);
  return 1 - ((n - 1) * differing) / expected;
}
