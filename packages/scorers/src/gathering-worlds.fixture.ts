// Several ranks in one process, which gather values and wait for each other.
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";

/** Runs a function for each rank, all of them at once, and gives their results by rank. */
export function inRanks<T>(size: number, run: (world: World) => Promise<T>): Promise<T[]> {
  const calls: { values: unknown[]; tell: ((values: unknown[]) => void)[] }[] = [];
  const worldOf = (rank: number): World => {
    let called = 0;
    const gather = <V>(value: V): Promise<V[]> => {
      const number = called++;
      calls[number] ??= { values: [], tell: [] };
      const { values, tell } = calls[number];
      values[rank] = structuredClone(value);
      return new Promise((resolve) => {
        tell.push((all) => resolve(all as V[]));
        if (tell.length === size) for (const each of tell) each(values);
      });
    };
    return {
      ...WORLD_OF_ONE,
      rank,
      size,
      localRank: rank,
      gather,
      barrier: async () => void (await gather(0)),
    };
  };
  return Promise.all(Array.from({ length: size }, (_, rank) => run(worldOf(rank))));
}
