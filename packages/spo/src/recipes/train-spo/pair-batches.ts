import { type Generator, randperm, scope } from "@spo/torch";

/** Places of the pairs of each update: all `count` pairs of a round once, in random order, `batch` at a time; the last may be fewer. */
export function pairBatches(count: number, batch: number, generator: Generator): number[][] {
  const order = scope(() => randperm(count, { generator }).toNumbers());
  return Array.from({ length: Math.ceil(count / batch) }, (_, update) =>
    order.slice(update * batch, (update + 1) * batch),
  );
}
