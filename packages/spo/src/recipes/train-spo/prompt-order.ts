import { generatorAt, randperm, scope } from "@spo/torch";

/**
 * Row numbers of a round's prompts, of `count` prompts: epoch by epoch in a new order, each prompt once an epoch. A function of the seed
 * and the round alone, 0 for the first; a round may end one epoch and begin the next.
 */
export function promptsAt(
  round: number,
  count: number,
  { seed, promptsPerRound }: { seed: number; promptsPerRound: number },
): number[] {
  const orders = new Map<number, number[]>();
  const orderOf = (epoch: number): number[] =>
    scope(() => randperm(count, { generator: generatorAt(seed, "epoch", epoch) }).toNumbers());
  return Array.from({ length: promptsPerRound }, (_, i) => {
    const place = round * promptsPerRound + i;
    const epoch = Math.floor(place / count);
    const order = orders.get(epoch) ?? orderOf(epoch);
    orders.set(epoch, order);
    return order[place % count] as number;
  });
}
