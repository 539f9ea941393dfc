// Several ranks in one process, for fast tests: each is a function that runs beside the others, and waits for them where it would.
import { cat, noGrad, scope, type Tensor } from "@spo/torch";
import type { World } from "@spo/torch/distributed";

/** Runs a function for each rank, all of them at once, and gives their results by rank. */
export function inRanks<T>(size: number, run: (world: World) => Promise<T>): Promise<T[]> {
  const calls: { values: unknown[]; all: Promise<unknown[]>; tell: (values: unknown[]) => void }[] = [];
  const worldOf = (rank: number): World => {
    let called = 0;
    /** The values of all ranks at this rank's next call. */
    const meet = (value: unknown): Promise<unknown[]> => {
      const number = called++;
      let tell = (_: unknown[]): void => {};
      const all = new Promise<unknown[]>((resolve) => {
        tell = resolve;
      });
      calls[number] ??= { values: [], all, tell };
      const call = calls[number];
      call.values[rank] = value;
      if (Object.keys(call.values).length === size) call.tell(call.values);
      return call.all;
    };
    return {
      ...{ rank, size, localRank: rank },
      async allReduce(tensor) {
        const all = (await meet(noGrad(() => tensor.detach().clone()))) as Tensor[];
        noGrad(() =>
          scope(() => void tensor.copy_(all.slice(1).reduce((sum, of) => sum.add(of), all[0] as Tensor))),
        );
      },
      async allGather(tensor) {
        const all = (await meet(noGrad(() => tensor.detach().clone()))) as Tensor[];
        return noGrad(() => cat(all));
      },
      async broadcast(tensor, from = 0) {
        const all = (await meet(noGrad(() => tensor.detach().clone()))) as Tensor[];
        noGrad(() => void tensor.copy_(all[from] as Tensor));
      },
      gather: async (value) => (await meet(structuredClone(value))) as (typeof value)[],
      barrier: async () => void (await meet(undefined)),
      waitForRank0: async () => void (await meet(undefined)),
      close: async () => {},
    };
  };
  return Promise.all(Array.from({ length: size }, (_, rank) => run(worldOf(rank))));
}
