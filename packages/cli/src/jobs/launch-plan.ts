// Which processes a launch starts here, and where they find each other: by options, else by the variables that a cluster sets.
import { UserError } from "@spo/torch/files";

/** The words of the command; what is left out is taken from the environment. */
export interface LaunchOptions {
  /** Processes on this machine; auto: one a GPU, or what shares out the cores where there is none. */
  nproc?: number | "auto";
  /** Machines. */
  nnodes?: number;
  /** Of this machine, from 0. */
  nodeRank?: number;
  /** `HOST:PORT` of machine 0. */
  master?: string;
}

/** What this machine has. */
export interface LaunchFacts {
  env: Readonly<Record<string, string | undefined>>;
  gpus: number;
  cores: number;
}

/** The processes of a launch. */
export interface LaunchPlan {
  nproc: number;
  nnodes: number;
  nodeRank: number;
  /** Absent on one machine where none is given: any free port of this one will do. */
  master?: { host: string; port: number };
  /** Whether `nproc` is one a core for want of a GPU or a number: another may be faster. */
  byCores?: boolean;
  /** Each value with where it comes from: `nproc 2 (--nproc)`. */
  sources: string[];
}

interface Found<T> {
  value: T;
  from: string;
}

/**
 * Decides from the options, else Kubeflow's and torchrun's PET_ variables, else SkyPilot's. One process on one machine where nothing is
 * said.
 *
 * Throws a UserError: `USAGE` for options that do not fit each other, `ENVIRONMENT` for variables that do not.
 */
export function launchPlan(options: LaunchOptions, { env, gpus, cores }: LaunchFacts): LaunchPlan {
  const first = <T>(...found: (Found<T> | undefined)[]): Found<T> | undefined =>
    found.find((each) => each !== undefined);
  const option = <T>(value: T | undefined, name: string): Found<T> | undefined =>
    value === undefined ? undefined : { value, from: name };
  const variable = (name: string, least: number, most: number): Found<number> | undefined =>
    env[name] ? { value: whole(name, env[name], least, most), from: name } : undefined;
  const perMachine = env.PET_NPROC_PER_NODE;
  const nproc = first<number | "auto">(
    option(options.nproc, "--nproc"),
    perMachine && ["auto", "gpu", "cpu"].includes(perMachine)
      ? { value: "auto" as const, from: "PET_NPROC_PER_NODE" }
      : variable("PET_NPROC_PER_NODE", 1, 4096),
    env.SKYPILOT_NUM_GPUS_PER_NODE === "0" ? undefined : variable("SKYPILOT_NUM_GPUS_PER_NODE", 1, 4096),
  ) ?? { value: 1, from: "default" };
  const nnodes = first(
    option(options.nnodes, "--nnodes"),
    variable("PET_NNODES", 1, 100_000),
    variable("SKYPILOT_NUM_NODES", 1, 100_000),
  ) ?? { value: 1, from: "default" };
  requireUnlaunched(env, nnodes.from);
  requireThreads(env);
  const last = nnodes.value - 1;
  const nodeRank = first(
    option(options.nodeRank, "--node-rank"),
    variable("PET_NODE_RANK", 0, last),
    variable("SKYPILOT_NODE_RANK", 0, last),
  );
  const sky = env.SKYPILOT_NODE_IPS?.split("\n", 1)[0]?.trim();
  const master = first(
    option(options.master, "--master"),
    env.PET_MASTER_ADDR
      ? { value: withPort(env.PET_MASTER_ADDR, env.PET_MASTER_PORT ?? PORT), from: "PET_MASTER_ADDR" }
      : undefined,
    sky && nnodes.value > 1 ? { value: withPort(sky, PORT), from: "SKYPILOT_NODE_IPS" } : undefined,
  );
  if (nodeRank && nodeRank.value > last)
    throw wrong(`--node-rank is ${nodeRank.value}, and there are ${nnodes.value} machines (${nnodes.from})`);
  if (nnodes.value > 1 && !nodeRank)
    throw wrong(`there are ${nnodes.value} machines (${nnodes.from}), and --node-rank is missing`);
  if (nnodes.value > 1 && !master)
    throw wrong(`there are ${nnodes.value} machines (${nnodes.from}), and --master is missing`);
  const processes = nproc.value === "auto" ? gpus || cores : nproc.value;
  return {
    nproc: processes,
    ...(nproc.value === "auto" && gpus === 0 && { byCores: true }),
    nnodes: nnodes.value,
    nodeRank: nodeRank?.value ?? 0,
    master: master && addressOf(master.value, master.from),
    sources: [
      `nproc ${processes} (${nproc.from}${nproc.value === "auto" ? `: ${gpus ? "GPUs" : "cores"}` : ""})`,
      ...(nnodes.value > 1
        ? [
            `nnodes ${nnodes.value} (${nnodes.from})`,
            `node-rank ${nodeRank?.value} (${nodeRank?.from})`,
            `master ${master?.value} (${master?.from})`,
          ]
        : []),
    ],
  };
}

/** What torchrun takes where no port is named. */
const PORT = 29_500;

/** Of a host, or a bare address of IPv6. */
const withPort = (host: string, port: string | number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

function addressOf(text: string, from: string): { host: string; port: number } {
  const [, v6, name, port] = /^(?:\[([\da-f:.]+(?:%\w+)?)\]|([^\s:/[\]]+))(?::(\d+))?$/i.exec(text) ?? [];
  const host = v6 ?? name;
  const number = Number(port ?? PORT);
  if (!host || !(number >= 1 && number <= 65_535))
    throw wrong(`${from} is ${JSON.stringify(text)}, and must be HOST:PORT, or [ADDRESS]:PORT of IPv6`);
  return { host, port: number };
}

/**
 * Of a cluster that has started a process a machine, each would start processes that know nothing of the other machines. from: where the
 * number of machines was read.
 */
function requireUnlaunched(
  { RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT }: LaunchFacts["env"],
  from: string,
): void {
  if (!RANK || !(Number(WORLD_SIZE) > 1) || from !== "default") return;
  const master = `${MASTER_ADDR ?? "HOST"}:${MASTER_PORT ?? PORT}`;
  throw new UserError(
    `RANK is ${RANK} and WORLD_SIZE is ${WORLD_SIZE}: this process is one of several already, and spo launch starts others.`,
    {
      code: "ENVIRONMENT",
      hint: `Leave spo launch out; or, where they are machines: spo launch --nnodes ${WORLD_SIZE} --node-rank ${RANK} --master ${master}; or --nnodes 1 for this machine alone.`,
    },
  );
}

/** OpenMP takes one number, or one for each level of parallel work; what is neither it passes over. */
function requireThreads({ OMP_NUM_THREADS: text }: LaunchFacts["env"]): void {
  if (!text || /^ *[1-9]\d* *(, *[1-9]\d* *)*$/.test(text)) return;
  throw new UserError(`OMP_NUM_THREADS is ${JSON.stringify(text)}, and must be a number of threads.`, {
    code: "ENVIRONMENT",
    hint: "Unset it: each process then has one thread.",
  });
}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UserError(
    `The launcher's variables do not fit: ${name} is ${JSON.stringify(text)}, and must be a whole number from ${least} to ${most}.`,
    { code: "ENVIRONMENT", hint: "Options of `spo launch` take its place." },
  );
}

const wrong = (what: string): UserError =>
  new UserError(`The processes cannot be started: ${what}.`, {
    code: "USAGE",
    hint: "Of several machines each is told --nnodes, its own --node-rank, and --master HOST:PORT of machine 0.",
  });

/** What one of the processes is told, by torchrun's names. */
export function environmentOf(
  localRank: number,
  { nproc, nnodes, nodeRank }: LaunchPlan,
  { host, port }: { host: string; port: number },
  { env, gpus }: LaunchFacts,
): Record<string, string> {
  const visible = env.CUDA_VISIBLE_DEVICES?.split(",").filter((name) => name !== "");
  const cards = visible ?? Array.from({ length: gpus }, (_, i) => String(i));
  return {
    RANK: String(nodeRank * nproc + localRank),
    WORLD_SIZE: String(nnodes * nproc),
    LOCAL_RANK: String(localRank),
    LOCAL_WORLD_SIZE: String(nproc),
    GROUP_RANK: String(nodeRank),
    GROUP_WORLD_SIZE: String(nnodes),
    MASTER_ADDR: host,
    MASTER_PORT: String(port),
    // Each process sees a GPU of its own, as `cuda`.
    ...(cards.length > 0 && { CUDA_VISIBLE_DEVICES: cards[localRank % cards.length] as string }),
    // As many threads for every number of processes: the bits of a result may depend on it.
    OMP_NUM_THREADS: env.OMP_NUM_THREADS || "1",
  };
}
