import type { Tensor } from "@spo/torch";

/** [n, d] → n lists of d numbers. */
export function featureRows(features: Tensor): number[][] {
  const [count, width] = features.shape as [number, number];
  const flat = features.toNumbers();
  return Array.from({ length: count }, (_, i) => flat.slice(i * width, (i + 1) * width));
}
