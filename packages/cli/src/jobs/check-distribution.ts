// Whether processes that are to train together find each other, are alike, and how fast they exchange gradients.
import { hostname } from "node:os";
import { type Device, engineFacts, resolveDevice, UserError, zeros } from "@spo/torch";
import {
  addressTowards,
  type ChosenBackend,
  interfaceOf,
  launchPlace,
  type World,
} from "@spo/torch/distributed";
import { ownDevice } from "spo/recipes";
import type { CommonOptions } from "../options/common-options.js";
import { put, putJson } from "../terminal/terminal.js";
import { openWorld } from "./open-world.js";

/** Options of `spo dist check`. */
export interface DistributionCheckOptions extends CommonOptions {
  /** Longest time that the processes wait for one another, seconds. */
  wait: number;
  /** Where the tensors are that are added up. */
  device: string;
}

/** A process, as it describes itself. */
interface ProcessFacts {
  rank: number;
  host: string;
  pid: number;
  address: string;
  interface: string;
  cpu: string;
  backend: string;
  threads: string;
}

/** Adding up so many bytes over all processes. */
interface Reduction {
  bytes: number;
  /** Median of the rounds, and the slowest. */
  seconds: number;
  slowest: number;
  rounds: number;
}

/** What is added up, and what has about that size: the gradients that a step exchanges. */
const SIZES = [
  { bytes: 4_000, name: "4 kB", of: "counts and flags", rounds: 20 },
  { bytes: 3_200_000, name: "3.2 MB", of: "a LoRA of SD1.5, rank 4", rounds: 10 },
  { bytes: 75_000_000, name: "75 MB", of: "a LoRA of SD3.5 medium, rank 32", rounds: 3 },
] as const;

/**
 * Connects, compares, measures; rank 0 prints. Throws a UserError: `USAGE` where no launcher started this process; as `initWorld` where
 * processes do not find each other; `CONFIG` naming what differs, where versions do.
 */
export async function checkDistribution({
  wait,
  device: name,
  json,
}: DistributionCheckOptions): Promise<void> {
  const place = launchPlace(process.env);
  if (!place || place.size === 1)
    throw new UserError("There is one process here: nothing to connect.", {
      code: "USAGE",
      hint: "Start it in several, as a training: npx spo launch --nproc 2 -- spo dist check",
    });
  const start = performance.now();
  const device = ownDevice(name, { localRank: 0, ...place }, process.env);
  const world = await openWorld("dist check", place, { timeout: 1000 * wait, device });
  const connected = (performance.now() - start) / 1000;
  const { cpu, backend } = engineFacts();
  const address = await addressTowards(place.host);
  const processes = await world.gather<ProcessFacts>({
    ...{ rank: world.rank, host: hostname(), pid: process.pid, address, cpu, backend },
    interface: process.env.GLOO_SOCKET_IFNAME ?? interfaceOf(address) ?? "",
    threads: process.env.OMP_NUM_THREADS ?? "",
  });
  const reductions: Reduction[] = [];
  for (const { bytes, rounds } of SIZES)
    reductions.push(await measure(world, resolveDevice(device), bytes, rounds));
  await world.close();
  if (world.rank > 0) return;
  const told = {
    sources: place.sources,
    connected,
    processes,
    by: world.backend as ChosenBackend,
    reductions,
  };
  if (json) putJson({ schema: "spo.dist/1", ...told });
  else for (const line of words(told)) put(line);
}

/** Adds a tensor of zeros up, once unmeasured and then so many times. The slowest rank's time counts. */
async function measure(world: World, device: Device, bytes: number, rounds: number): Promise<Reduction> {
  const tensor = zeros([bytes / 4], { device });
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    await world.barrier("the measurement");
    const start = performance.now();
    await world.allReduce(tensor);
    const found = await world.gather((performance.now() - start) / 1000);
    if (round > 0) times.push(Math.max(...found));
  }
  tensor.dispose();
  return {
    bytes,
    seconds: [...times].sort((a, b) => a - b)[Math.floor(rounds / 2)] as number,
    slowest: Math.max(...times),
    rounds,
  };
}

function words({
  sources,
  connected,
  processes,
  by,
  reductions,
}: {
  sources: readonly string[];
  connected: number;
  processes: readonly ProcessFacts[];
  by: ChosenBackend;
  reductions: readonly Reduction[];
}): string[] {
  const short = (seconds: number): string =>
    seconds < 1 ? `${Number((1000 * seconds).toPrecision(2))} ms` : `${Number(seconds.toPrecision(2))} s`;
  return [
    `${processes.length} processes found each other in ${short(connected)}: rank, processes, host and port of rank 0 are ${sources.join(", ")}.`,
    ...processes.map(
      ({ rank, host, pid, address, interface: name, backend, threads }) =>
        `  rank ${rank}  ${host}, process ${pid}, ${address}${name ? ` (${name})` : ""}, ${backend}, threads ${threads || "all"}`,
    ),
    ...(by.why ? [by.why] : []),
    `Adding up over all processes by ${by.name} takes, at a step's end,`,
    ...reductions.map(
      ({ seconds, slowest }, i) =>
        `  ${short(seconds)} (slowest ${short(slowest)}) for ${SIZES[i]?.name}: ${SIZES[i]?.of}`,
    ),
    "A step of `--reduce sum` adds up once; of `--reduce exact` once a micro-batch, and sends as much as there are processes.",
  ];
}
