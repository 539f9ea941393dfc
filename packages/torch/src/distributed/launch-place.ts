// Where a process stands, as its launcher tells it: torchrun and what starts processes as torchrun does, Slurm, MPI.
import { UserError } from "../errors.js";
import type { WorldPlace } from "./init-world.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** A place, and where it was read. */
export interface LaunchPlace extends WorldPlace {
  /** Each value with its variable, for people: `rank 3 (SLURM_PROCID)`. */
  sources: string[];
}

/** The variables that torchrun sets for every process, all or none. */
const NEEDED = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"] as const;

/** What torchrun takes where no port is named. */
const PORT = 29_500;

/**
 * The place that the launcher's variables tell, the first of these:
 *
 * - torchrun's RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, which `spo launch`, PyTorchJob and others set too;
 *   TORCHELASTIC_USE_AGENT_STORE where its agent holds the store, TORCHELASTIC_RESTART_COUNT of a restarted job.
 * - Slurm's SLURM_PROCID and SLURM_NTASKS; rank 0 is on the first host of SLURM_NODELIST unless MASTER_ADDR is set, at port 15000 + the
 *   last four digits of the job unless MASTER_PORT is. A shell of `salloc` or `srun --pty bash` is no launch.
 * - Open MPI's OMPI_COMM_WORLD_RANK and _SIZE, or PMI_RANK and PMI_SIZE, with MASTER_ADDR.
 *
 * Undefined without any of them, and for a process alone of Slurm or MPI.
 *
 * Throws a UserError (`ENVIRONMENT`) that names the variable: for some of them alone, for what is no such number, for two that contradict
 * each other, and where a cluster wants several processes that nobody has started. Source: PyTorch, torch.distributed.run, "Environment
 * variables"; Slurm, srun, "Output environment variables"; Open MPI, "Environment variables"; Kubeflow Trainer, PET_ variables.
 */
export function launchPlace(env: Environment): LaunchPlace | undefined {
  return placeOfTorchrun(env) ?? placeOfSlurm(env) ?? placeOfMpi(env) ?? refuseUnlaunched(env);
}

function placeOfTorchrun(env: Environment): LaunchPlace | undefined {
  const given = NEEDED.filter((name) => env[name]);
  if (!env.RANK && !env.WORLD_SIZE) return undefined;
  // A cluster's own ranks complete what is missing only if nothing of torchrun's is given.
  const missing = NEEDED.filter((name) => !given.includes(name));
  if (missing.length > 0)
    throw fault(
      `${given.join(", ")} ${given.length === 1 ? "is" : "are"} set, but not ${missing.join(", ")}`,
    );
  const size = whole(env, "WORLD_SIZE", 1, MOST);
  const rank = whole(env, "RANK", 0, size - 1);
  if (env.LOCAL_WORLD_SIZE) whole(env, "LOCAL_WORLD_SIZE", 1, size);
  // torchrun gives ranks as its processes come; what sets both by hand must set both alike.
  if (!env.TORCHELASTIC_RUN_ID)
    for (const [other, count] of [
      ["SLURM_PROCID", "SLURM_NTASKS"],
      ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
      ["PMI_RANK", "PMI_SIZE"],
    ] as const)
      if (env[other] && env[count] === env.WORLD_SIZE && env[other] !== env.RANK)
        throw fault(`RANK is ${env.RANK}, and ${other} is ${env[other]}`);
  return {
    ...{ rank, size, host: env.MASTER_ADDR as string, port: whole(env, "MASTER_PORT", 1, 65_535) },
    localRank: env.LOCAL_RANK ? whole(env, "LOCAL_RANK", 0, rank) : 0,
    storeIsHeld: env.TORCHELASTIC_USE_AGENT_STORE === "True",
    attempt: env.TORCHELASTIC_RESTART_COUNT ?? "0",
    sources: NEEDED.map((name) => `${env[name]} (${name})`),
  };
}

function placeOfSlurm(env: Environment): LaunchPlace | undefined {
  if (!env.SLURM_PROCID || !env.SLURM_NTASKS) return undefined;
  if (["bash", "interactive"].includes(env.SLURM_JOB_NAME ?? "")) return undefined;
  const size = whole(env, "SLURM_NTASKS", 1, MOST);
  const rank = whole(env, "SLURM_PROCID", 0, size - 1);
  if (size === 1) return undefined;
  const list = env.SLURM_STEP_NODELIST || env.SLURM_NODELIST || env.SLURM_JOB_NODELIST;
  if (!env.MASTER_ADDR && !list)
    throw fault("SLURM_PROCID, SLURM_NTASKS are set, but neither SLURM_NODELIST nor MASTER_ADDR");
  if (!env.MASTER_PORT && !env.SLURM_JOB_ID)
    throw fault("SLURM_PROCID, SLURM_NTASKS are set, but neither SLURM_JOB_ID nor MASTER_PORT");
  const host = env.MASTER_ADDR || firstHost(list as string);
  const port = env.MASTER_PORT
    ? whole(env, "MASTER_PORT", 1, 65_535)
    : 15_000 + (whole(env, "SLURM_JOB_ID", 0, Number.MAX_SAFE_INTEGER) % 10_000);
  return {
    ...{ rank, size, host, port, storeIsHeld: false, attempt: env.SLURM_RESTART_COUNT ?? "0" },
    localRank: env.SLURM_LOCALID ? whole(env, "SLURM_LOCALID", 0, rank) : 0,
    sources: [
      `${rank} (SLURM_PROCID)`,
      `${size} (SLURM_NTASKS)`,
      `${host} (${env.MASTER_ADDR ? "MASTER_ADDR" : "SLURM_NODELIST"})`,
      `${port} (${env.MASTER_PORT ? "MASTER_PORT" : "SLURM_JOB_ID"})`,
    ],
  };
}

function placeOfMpi(env: Environment): LaunchPlace | undefined {
  const pairs = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
  ] as const;
  const found = pairs.find((names) => names.some((name) => env[name]));
  if (!found) return undefined;
  const [rankName, sizeName] = found;
  for (const [one, other] of [found, [...found].reverse()] as const)
    if (!env[one as string]) throw fault(`${other} is set, but not ${one}`);
  const size = whole(env, sizeName, 1, MOST);
  const rank = whole(env, rankName, 0, size - 1);
  if (size === 1) return undefined;
  const isOneMachine = env.OMPI_COMM_WORLD_LOCAL_SIZE === env.OMPI_COMM_WORLD_SIZE && rankName !== "PMI_RANK";
  if (!env.MASTER_ADDR && !isOneMachine) throw fault(`${rankName}, ${sizeName} are set, but not MASTER_ADDR`);
  const host = env.MASTER_ADDR || "127.0.0.1";
  const port = env.MASTER_PORT ? whole(env, "MASTER_PORT", 1, 65_535) : PORT;
  return {
    ...{ rank, size, host, port, storeIsHeld: false, attempt: "0" },
    localRank: env.OMPI_COMM_WORLD_LOCAL_RANK ? whole(env, "OMPI_COMM_WORLD_LOCAL_RANK", 0, rank) : 0,
    sources: [
      `${rank} (${rankName})`,
      `${size} (${sizeName})`,
      `${host} (${env.MASTER_ADDR ? "MASTER_ADDR" : "OMPI_COMM_WORLD_LOCAL_SIZE"})`,
      `${port} (${env.MASTER_PORT ? "MASTER_PORT" : "default"})`,
    ],
  };
}

/** On a cluster that has made machines for several processes, one alone on each would learn the same several times over. */
function refuseUnlaunched(env: Environment): undefined {
  const name = ["PET_NNODES", "SKYPILOT_NUM_NODES"].find((each) => env[each] && env[each] !== "1");
  if (!name) return undefined;
  throw new UserError(`${name} is ${env[name]}, but this process was started alone: RANK is not set.`, {
    code: "ENVIRONMENT",
    hint: `Start it by \`spo launch -- spo …\`, which reads ${name.split("_", 1)[0]}_ variables; unset ${name} to run one process.`,
  });
}

/** The first host of a Slurm list: `gpu[03-05,9],login` → `gpu03`. */
function firstHost(list: string): string {
  const [first = ""] = /^(?:[^,[]|\[[^\]]*\])+/.exec(list) ?? [];
  return first.replaceAll(/\[([^\],-]+)[^\]]*\]/g, "$1");
}

const MOST = 1_000_000;

function whole(env: Environment, name: string, least: number, most: number): number {
  const text = env[name] as string;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < least || number > most)
    throw fault(`${name} is ${JSON.stringify(text)}, and must be a whole number from ${least} to ${most}`);
  return number;
}

const fault = (what: string): UserError =>
  new UserError(`The launcher's variables do not fit: ${what}.`, {
    code: "ENVIRONMENT",
    hint: "torchrun and `spo launch` set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT together; unset them all to run one process.",
  });
