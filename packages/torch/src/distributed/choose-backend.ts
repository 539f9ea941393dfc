// What carries the tensors of a GPU between processes: NCCL from GPU to GPU, or gloo over the CPU's memory.
import { UserError } from "../errors.js";

/** A backend of c10d. gloo is always there, for values and for tensors of the CPU; tensors of GPUs go through the CPU's memory by it. */
export type CollectiveBackend = "gloo" | "nccl";

/** A backend, and why it is gloo although the processes compute on GPUs. */
export interface ChosenBackend {
  name: CollectiveBackend;
  why?: string;
}

/** What one rank has to exchange tensors by. */
export interface BackendFacts {
  host: string;
  /** Where it computes: `cpu`, `cuda:0`. */
  device: string;
  /** Which GPU of its machine that is; absent for the CPU. */
  gpu?: string;
  /** Why NCCL is not there, and what mends that; null where it is. */
  problem: { problem: string; fix: string } | null;
}

/**
 * The backend that $SPO_DISTRIBUTED_BACKEND asks for; undefined where it does not, for NCCL where all ranks can.
 *
 * Throws a UserError (`ENVIRONMENT`) for any other name.
 */
export function askedBackend({
  SPO_DISTRIBUTED_BACKEND: name,
}: {
  SPO_DISTRIBUTED_BACKEND?: string;
}): CollectiveBackend | undefined {
  if (!name) return undefined;
  if (name === "gloo" || name === "nccl") return name;
  throw new UserError(`SPO_DISTRIBUTED_BACKEND is ${JSON.stringify(name)}, and must be gloo or nccl.`, {
    code: "ENVIRONMENT",
    hint: "Unset, NCCL is taken where every process has a GPU of its own, else gloo.",
  });
}

/** The GPU of a device name as its machine numbers it, or by its uuid: among those that this process may see. */
export function gpuOf(
  device: string,
  { CUDA_VISIBLE_DEVICES: visible }: { CUDA_VISIBLE_DEVICES?: string },
): string | undefined {
  if (!device.startsWith("cuda")) return undefined;
  const index = device.split(":")[1] ?? "0";
  return visible?.split(",")[Number(index)]?.trim() ?? index;
}

/**
 * The same for all ranks, from the facts of all, by rank: NCCL where each has a GPU of its own and its library, unless gloo is asked for.
 *
 * Throws a UserError that names ranks, where NCCL is asked for: `CONFIG` for ranks without a GPU and for two that share one, `ENVIRONMENT`
 * for ranks without the library.
 */
export function chooseBackend(
  asked: CollectiveBackend | undefined,
  ranks: readonly BackendFacts[],
): ChosenBackend {
  if (asked === "gloo") return { name: "gloo" };
  const isOnGpus = ranks.some(({ gpu }) => gpu !== undefined);
  const fault = withoutGpu(ranks) ?? sharedGpu(ranks) ?? withoutLibrary(ranks);
  if (!fault) return { name: "nccl" };
  if (asked === "nccl") throw fault;
  return { name: "gloo", ...(isOnGpus && { why: `${fault.message} ${fault.hint ?? ""}`.trim() }) };
}

function withoutGpu(ranks: readonly BackendFacts[]): UserError | undefined {
  const rank = ranks.findIndex(({ gpu }) => gpu === undefined);
  if (rank < 0) return undefined;
  return new UserError(`NCCL carries tensors of GPUs, and rank ${rank} computes on ${ranks[rank]?.device}.`, {
    code: "CONFIG",
    hint: "Give --device cuda to every process; gloo carries tensors of the CPU (SPO_DISTRIBUTED_BACKEND=gloo).",
  });
}

function sharedGpu(ranks: readonly BackendFacts[]): UserError | undefined {
  const first = new Map<string, number>();
  for (const [rank, { host, gpu }] of ranks.entries()) {
    const name = `${host} ${gpu}`;
    const other = first.get(name);
    if (other !== undefined)
      return new UserError(
        `Ranks ${other} and ${rank} share GPU ${gpu} of ${host}, and NCCL gives each its own.`,
        {
          code: "CONFIG",
          hint: "Start at most as many processes as the machine has GPUs (`--nproc auto`), or set SPO_DISTRIBUTED_BACKEND=gloo.",
        },
      );
    first.set(name, rank);
  }
  return undefined;
}

function withoutLibrary(ranks: readonly BackendFacts[]): UserError | undefined {
  const rank = ranks.findIndex(({ problem }) => problem !== null);
  const found = ranks[rank]?.problem;
  if (!found) return undefined;
  return new UserError(`NCCL is not there for rank ${rank} on ${ranks[rank]?.host}. ${found.problem}`, {
    code: "ENVIRONMENT",
    hint: `There: ${found.fix.replaceAll("\n", "; ")}`,
  });
}
