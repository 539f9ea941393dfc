import type { Tensor } from "../tensor.js";
import type { ChosenBackend } from "./choose-backend.js";

/**
 * The processes that compute together. Every process makes the same calls in the same order.
 *
 * Every method that waits for others throws a UserError (`RESOURCE`) that names the ranks that are gone or did not come.
 */
export interface World {
  /** Of this process, from 0. Rank 0 alone writes what a run leaves. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
  /** Of this process among those of its machine, from 0. */
  readonly localRank: number;
  /** What carries tensors of this process's device; absent for a process alone. */
  readonly backend?: ChosenBackend;
  /** Adds a tensor up over all processes, in place: the same bits in each. Sums of another number of processes may round otherwise. */
  allReduce(tensor: Tensor): Promise<void>;
  /** The tensors of all ranks, of one shape and dtype, one below the other: [n, …] → [size·n, …]. */
  allGather(tensor: Tensor): Promise<Tensor>;
  /** Gives every process the tensor of rank `from`, 0 unless told, in place. */
  broadcast(tensor: Tensor, from?: number): Promise<void>;
  /** The values of all ranks, by rank: whatever `structuredClone` takes. */
  gather<T>(value: T): Promise<T[]>;
  /** Waits until all processes are here. what: what they wait for, for the message where one does not come. */
  barrier(what: string): Promise<void>;
  /** Waits for rank 0, which does something alone, as to save: as long as it lives. what: for the message where it does not. */
  waitForRank0(what: string): Promise<void>;
  /** Leaves the others, when all that they do together is done. */
  close(): Promise<void>;
}

/** A process alone: nothing is sent or waited for. */
export const WORLD_OF_ONE: World = {
  rank: 0,
  size: 1,
  localRank: 0,
  allReduce: async () => {},
  allGather: async (tensor) => tensor.clone(),
  broadcast: async () => {},
  gather: async (value) => [value],
  barrier: async () => {},
  waitForRank0: async () => {},
  close: async () => {},
};
