// How many processes with how many threads each do a training fastest on this machine: each is tried for two steps.
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { type Event, salvageEvents } from "@spo/records";
import type { LaunchFacts } from "./launch-plan.js";
import { HANDED_ON, launchProcesses } from "./launch-processes.js";

/** Processes of this machine, and threads of each. */
export interface Layout {
  processes: number;
  threads: number;
}

/** A try of a layout. */
interface Trial {
  /** Of the command. */
  code: number;
  /** A step, rounds of `train spo`; absent where the training ended before its third. */
  seconds?: number;
  /** Resident memory of one process, bytes. */
  rss?: number;
}

/** What is to be done by a layout. */
export interface LayoutSearch {
  /** A training's own, with the program that runs it. */
  command: readonly [string, ...string[]];
  facts: LaunchFacts;
  /** Told what each layout took, a line at a time. */
  say: (line: string) => void;
  /** Of this machine, bytes; default: all that it has. */
  memory?: number;
}

/** The first step warms up; so many are timed. */
const TIMED = 2;

/**
 * Whether a command's speed can be tried: a training of `spo`, which says of each step when it was done.
 *
 * words: as they stand behind `spo launch --`.
 */
export function canBeTried(words: readonly string[]): boolean {
  const own = words[0] === "npx" ? words.slice(1) : words;
  const isTraining = own[0] === "spo" && own[1] === "train" && ["spm", "spo", "dpo"].includes(own[2] ?? "");
  return isTraining && !own.includes("--dry-run") && own.some((word) => /^--run(=|$)/.test(word));
}

/** The ways to share cores out evenly, few processes first; `threads`, where given, are every process's. */
export function layoutsOf(cores: number, threads?: number): Layout[] {
  const most = threads === undefined ? cores : Math.max(1, Math.floor(cores / threads));
  const counts = Array.from({ length: most }, (_, i) => i + 1).filter((count) => most % count === 0);
  return counts.map((processes) => ({ processes, threads: threads ?? cores / processes }));
}

/**
 * Trains three steps by each layout in a folder of its own, which is removed → the fastest layout, or the exit code of a signal, which
 * kills the try at work. One process with all cores where the training is shorter or fails: the command itself then tells why.
 */
export async function fastestLayout({
  command,
  facts,
  say,
  memory = totalmem(),
}: LayoutSearch): Promise<Layout | { stopped: number }> {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => stop.abort(128 + constants.signals[name]);
  for (const name of HANDED_ON) process.once(name, onSignal);
  try {
    return await search(command, facts, { say, memory, signal: stop.signal });
  } catch (error) {
    if (stop.signal.aborted) return { stopped: stop.signal.reason as number };
    throw error;
  } finally {
    for (const name of HANDED_ON) process.removeListener(name, onSignal);
  }
}

async function search(
  command: LayoutSearch["command"],
  facts: LaunchFacts,
  { say, memory, signal }: { say: (line: string) => void; memory: number; signal: AbortSignal },
): Promise<Layout> {
  const threads = facts.env.OMP_NUM_THREADS ? Number.parseInt(facts.env.OMP_NUM_THREADS, 10) : undefined;
  const layouts = layoutsOf(facts.cores, threads);
  let best = { ...(layouts[0] as Layout), seconds: Number.POSITIVE_INFINITY };
  let rss = 0;
  for (const layout of layouts) {
    if (rss * layout.processes > memory) {
      say(`launch: ${wordsOf(layout)}: not tried, ${gigabytes(rss)} a process are more than there is`);
      continue;
    }
    const trial = await tryLayout(layout, { command, facts, signal });
    signal.throwIfAborted();
    rss = Math.max(rss, trial.rss ?? 0);
    const { seconds } = trial;
    if (seconds === undefined) {
      say(`launch: ${wordsOf(layout)}: ended with exit code ${trial.code} before its third step`);
      // What one process cannot do, or has done at once, need not be shared out.
      if (layout.processes === 1) break;
      continue;
    }
    say(`launch: ${wordsOf(layout)}: ${Number(seconds.toPrecision(3))} s a step`);
    if (seconds < best.seconds) best = { ...layout, seconds };
  }
  return { processes: best.processes, threads: best.threads };
}

async function tryLayout(
  { processes, threads }: Layout,
  {
    command: [program, ...words],
    facts,
    signal,
  }: { command: LayoutSearch["command"]; facts: LaunchFacts; signal: AbortSignal },
): Promise<Trial> {
  const folder = mkdtempSync(join(tmpdir(), "spo-launch-"));
  const enough = new AbortController();
  /** The first event of each step. */
  const firsts = new Map<number, Event["time"]>();
  const onLine = (line: string): void => {
    for (const event of salvageEvents(`${line}\n`).events)
      if (event.type === "step" && !firsts.has(event.step)) firsts.set(event.step, event.time);
    if (firsts.size > TIMED) enough.abort();
  };
  try {
    const code = await launchProcesses({
      plan: { nproc: processes, nnodes: 1, nodeRank: 0, sources: [] },
      facts: { ...facts, env: { ...facts.env, OMP_NUM_THREADS: String(threads) } },
      // The last of two options holds.
      command: [program, ...words, "--run", join(folder, "run"), "--json", "--quiet"],
      say: () => {},
      onLine,
      signal: AbortSignal.any([enough.signal, signal]),
    });
    const [first, , last] = [...firsts.values()];
    if (!first || !last) return { code };
    return { code: 0, seconds: (last.wall - first.wall) / TIMED, rss: last.rss };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const wordsOf = ({ processes, threads }: Layout): string =>
  `${processes} ${processes === 1 ? "process" : "processes"} with ${threads} ${threads === 1 ? "thread" : "threads"}`;

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
