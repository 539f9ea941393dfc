/** NCCL beside gloo in the process group, for tensors in GPUs' memory. No function waits on the JavaScript thread. */
export interface Nccl {
  /**
   * Connects all processes of an open group by NCCL; the group's collectives on tensors of that GPU then go by it. Every process calls it,
   * with a GPU of its own. A collective that takes longer than the milliseconds fails. Rejects with libtorch's reason.
   */
  open(group: string, device: number, milliseconds: number): Promise<undefined>;
  /** All that was put into the GPU's queue is done. Rejects with NCCL's fault, after `abort`, and where it takes longer. */
  done(milliseconds: number): Promise<undefined>;
  /** Ends collectives that still wait for processes that are gone. Nothing follows it but the end of the process. */
  abort(): void;
  /** Leaves NCCL, before the group is closed. */
  close(): Promise<undefined>;
}

/** Why this machine's set-up has no library of NCCL, in a sentence, and the command that mends it; null where it has one. */
export function ncclProblem(): { problem: string; fix: string } | null;

/** Loads the library. Throws an Error where there is none. Sets variables of c10d in this process: a fault of NCCL does not end it. */
export function loadNccl(): Nccl;
