import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { native } from "@spo/native";
import { ncclProblem } from "@spo/native/nccl";
import { resolveDevice } from "../device.js";
import { UserError } from "../errors.js";
import { engineFacts } from "../modes.js";
import { askedBackend, chooseBackend, gpuOf } from "./choose-backend.js";
import { addressTowards } from "./network-address.js";
import {
  type EndReason,
  firstLine,
  type Member,
  ProcessWorld,
  refuseStart,
  seconds,
  takenBy,
} from "./process-world.js";
import { requireSame } from "./require-same.js";
import { WORLD_OF_ONE, type World } from "./world.js";

/** Where a process stands among those that compute together. */
export interface WorldPlace {
  /** From 0. */
  rank: number;
  /** Number of processes. */
  size: number;
  /** Where the store is held. */
  host: string;
  port: number;
  /** Among the processes of this machine, from 0; default 0. */
  localRank?: number;
  /** Whether somebody else holds the store, as torchrun's agent may. Default: rank 0 does. */
  storeIsHeld?: boolean;
  /** Tells apart the tries of a restarted job, which meet in one store. */
  attempt?: string;
}

/** How long, and over which interface. */
export interface WorldOptions {
  /** Longest time that the processes wait for one another, ms. Default: $SPO_DISTRIBUTED_TIMEOUT, in seconds, else ten minutes. */
  timeout?: number;
  /** Name of a network interface, `eth0`. Default: $GLOO_SOCKET_IFNAME, else the one that leads to the host. */
  networkInterface?: string;
  /** Where this process computes: tensors of `cuda:1` are exchanged by NCCL where all processes can. Default: cpu. */
  device?: string;
}

const TEN_MINUTES = 600_000;

/** Throws a UserError (`ENVIRONMENT`) for what is no time. */
function timeoutIn({ SPO_DISTRIBUTED_TIMEOUT: text }: NodeJS.ProcessEnv): number {
  if (!text) return TEN_MINUTES;
  const seconds = Number(text);
  if (seconds >= 1 && seconds <= 86_400) return Math.round(1000 * seconds);
  throw new UserError(
    `SPO_DISTRIBUTED_TIMEOUT is ${JSON.stringify(text)}, and must be seconds from 1 to 86400.`,
    { code: "ENVIRONMENT", hint: "It is the longest time that processes wait for one another." },
  );
}

/**
 * Joins the processes of a place. Without a place, or with one process, nothing is opened.
 *
 * Throws a UserError: `ENVIRONMENT` for a time-out that is none, an engine without process groups, a port in use, an unknown host, no
 * connection; `RESOURCE` naming the ranks that did not come; `CONFIG` for a rank that is taken twice, for ranks of different versions and
 * of different $SPO_DISTRIBUTED_BACKEND; as `chooseBackend` where that asks for NCCL and it cannot be.
 */
export async function initWorld(
  place?: WorldPlace,
  {
    timeout = timeoutIn(process.env),
    networkInterface = process.env.GLOO_SOCKET_IFNAME || undefined,
    device = "cpu",
  }: WorldOptions = {},
): Promise<World> {
  if (!place || place.size === 1) return WORLD_OF_ONE;
  const { rank, size, host, port, localRank = 0, storeIsHeld = false, attempt = "0" } = place;
  const asked = askedBackend(process.env);
  const fault = native.processGroupFault();
  if (fault)
    throw new UserError(`Several processes cannot work together here: ${fault}.`, {
      code: "ENVIRONMENT",
      hint: "`npx spo setup` fetches the libtorch that they can.",
    });
  const who = `rank ${rank} of ${size}`;
  const serves = rank === 0 && !storeIsHeld;
  joining = "begun";
  const address = await addressTowards(host).catch((error: Error) => {
    throw notReached(`${who} finds no way to ${host}: ${error.message}`, error, MASTER);
  });
  try {
    await inTime(native.openStore(host, port, serves, timeout, `spo/${attempt}`), timeout);
  } catch (error) {
    throw storeFault(error as Error, { who, host, port, serves, timeout });
  }
  const taken = await native.storeAdd(takenBy(rank), 1);
  if (taken !== "1")
    throw new UserError(`Rank ${rank} is taken twice: another process at ${host}:${port} has it too.`, {
      code: "CONFIG",
      hint: "Give every process a rank of its own, and every job a port of its own.",
    });
  const me: Member = { host: hostname(), pid: process.pid, address, size };
  const world = new ProcessWorld({ rank, size, localRank, timeout, store: `${host}:${port}` });
  await world.meet(me);
  joining = world;
  await world.connect(address, networkInterface ?? null);
  const { libtorch } = engineFacts();
  await requireSame(world, "versions", { libtorch: libtorch ?? "", size });
  await requireSame(world, "variables", asked ? { SPO_DISTRIBUTED_BACKEND: asked } : {});
  const ranks = await world.gather({
    ...{ host: me.host, device, gpu: gpuOf(device, process.env) },
    problem: gpuOf(device, process.env) === undefined ? null : ncclProblem(),
  });
  const backend = chooseBackend(asked, ranks);
  world.backend = backend;
  if (backend.name === "nccl") await world.openNccl(resolveDevice(device));
  return world;
}

/** How far this process has come: nowhere, to the others, or among them. */
let joining: ProcessWorld | "begun" | undefined;

/** Longest time that a process spends to tell others that it has not joined why it ends, ms. */
const TELLING = 10_000;

/**
 * Tells the other processes of a place why this one ends before them, so that each of them can say it. One that has not tried to join them
 * looks for them for ten seconds, in which they start. Never throws: where they cannot be told, they find out that this one is gone.
 */
export async function tellOthers(place: WorldPlace, reason: EndReason): Promise<void> {
  const { rank, size, host, port, storeIsHeld = false, attempt = "0" } = place;
  if (size === 1 || joining === "begun") return;
  try {
    if (joining) return await joining.tellEnd(reason);
    joining = "begun";
    const serves = rank === 0 && !storeIsHeld;
    await inTime(native.openStore(host, port, serves, TELLING, `spo/${attempt}`), TELLING);
    await refuseStart({ rank, size, serves }, reason);
  } catch {
    // They do not come, another job has the port, or this engine has no process groups.
  }
}

/** What takes longer than it may, as to connect to a program that listens and is silent, does not keep this process. */
async function inTime<T>(work: Promise<T>, timeout: number): Promise<T> {
  const done = new AbortController();
  const late = sleep(timeout + GRACE, undefined, { signal: done.signal }).then(() => {
    native.abandonGroup();
    throw new Error(SILENT);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}

/** Within which c10d's own time-out is told, ms. */
const GRACE = 1000;
const SILENT = "what listens there does not answer";

interface StoreFault {
  who: string;
  host: string;
  port: number;
  serves: boolean;
  timeout: number;
}

function storeFault(error: Error, { who, host, port, serves, timeout }: StoreFault): UserError {
  if (/EADDRINUSE|address already in use/i.test(error.message))
    return notReached(
      `${who} cannot hold the store: port ${port} is in use`,
      error,
      "Another program has it, or another process of this job has rank 0 too. Give another port (MASTER_PORT).",
    );
  const why = whyNot(error, timeout);
  return notReached(
    serves
      ? `${who} cannot hold the store at ${host}:${port}: ${why}`
      : `${who} does not reach rank 0 at ${host}:${port}: ${why}`,
    error,
    serves
      ? "MASTER_ADDR is to lead to this machine, where rank 0 is."
      : "Rank 0 must run, and its host and port (MASTER_ADDR, MASTER_PORT) must be reachable from here.",
  );
}

/** c10d's reason in words for people. */
function whyNot(error: Error, timeout: number): string {
  if (/timed out/i.test(error.message)) return `nobody answered within ${seconds(timeout)}`;
  if (/ping failed|invalid value returned/i.test(error.message)) return "another program answers there";
  return firstLine(error);
}

const MASTER = "MASTER_ADDR is the machine where rank 0 is, by a name or an address that all others reach.";

const notReached = (message: string, cause: unknown, hint?: string): UserError =>
  new UserError(`${message}.`, { code: "ENVIRONMENT", cause, hint });
