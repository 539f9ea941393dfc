// Has cases read by processes that are restarted when one dies, spins or fills the memory, and gathers the verdicts.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { CPU_SECONDS, MEMORY } from "./judge-case.js";
import { type Task, TOLD, type Told } from "./told.js";

/** What came of the cases of one kind. */
export interface Tally {
  cases: number;
  read: number;
  refused: number;
  /** Of the processor, of the cases that came to an end. */
  seconds: number;
  faults: { index: number; fault: string }[];
}

/** Seconds in which a case computes nothing and does not end: it waits for what never comes. */
const SILENCE = 60;
/** Faults after which a kind is given up. */
const ENOUGH = 200;

const at = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

function start(args: readonly string[]): ChildProcess {
  // No optimiser and a small heap would hide what users meet: V8 is as it is, but for what finds leaks.
  return spawn(
    process.execPath,
    ["--expose-gc", "--max-old-space-size=1024", "--import", at("typescript.mjs"), at("worker.ts"), ...args],
    {
      env: {
        ...process.env,
        OMP_NUM_THREADS: "1",
        NODE_NO_WARNINGS: "1",
        NO_COLOR: "1",
        HF_HUB_OFFLINE: "1",
      },
      stdio: ["ignore", "ignore", "pipe", "pipe"],
    },
  );
}

/** Clock ticks of a second in /proc; 100 on every Linux of today. */
const TICKS = 100;

/** Processor seconds and resident bytes of a process and its threads; undefined once it is gone. */
function spentBy(pid: number): { cpu: number; rss: number } | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    return { cpu: (Number(fields[11]) + Number(fields[12])) / TICKS, rss: Number(fields[21]) * 4096 };
  } catch {
    return undefined;
  }
}

/** Makes the sound files of all kinds. Throws an Error with what went wrong. */
export async function makeSources(folder: string): Promise<void> {
  const child = start(["make", folder]);
  let words = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    words += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`the sound files could not be made:\n${words}`);
}

/** Writes the files of cases into folders `KIND-N`, to be looked at. */
export async function keepCases(
  sources: string,
  folder: string,
  cases: readonly { kind: string; index: number }[],
): Promise<void> {
  const tasks = cases.map(({ kind, index }): Task => ({ kind, from: index, to: index + 1 }));
  const child = start(["keep", sources, folder, JSON.stringify(tasks)]);
  await new Promise((resolve) => child.on("close", resolve));
}

/** Reads all cases of the tasks, `jobs` processes at a time. onCase: told of each kind as it moves. */
export async function runCases(
  tasks: readonly Task[],
  {
    sources,
    jobs = 1,
    onFault = () => {},
  }: { sources: string; jobs?: number; onFault?: (kind: string, index: number, fault: string) => void },
): Promise<Map<string, Tally>> {
  const tallies = new Map<string, Tally>();
  const tallyOf = (kind: string): Tally => {
    const known = tallies.get(kind) ?? { cases: 0, read: 0, refused: 0, seconds: 0, faults: [] };
    tallies.set(kind, known);
    return known;
  };
  const parts = Array.from({ length: jobs }, (_, job) => tasks.filter((_, i) => i % jobs === job));
  const work = async (part: readonly Task[]): Promise<void> => {
    const own = mkdtempSync(join(tmpdir(), "spo-mutations-"));
    try {
      for (let left = part; left.length > 0; ) left = await readSome(left, own);
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  };

  /** One process over tasks, for as long as it lives; gives what is left of them. */
  async function readSome([first, ...others]: readonly Task[], own: string): Promise<Task[]> {
    if (!first) return [];
    const child = start(["read", sources, own, JSON.stringify([first, ...others])]);
    const left = [first, ...others];
    let current: { kind: string; index: number; cpu: number; rss: number } | undefined;
    let moved = { cpu: 0, at: 0 };
    let ended = "";
    let words = "";
    const fault = (kind: string, index: number, what: string): void => {
      tallyOf(kind).faults.push({ index, fault: what });
      onFault(kind, index, what);
    };
    /** A case has ended. */
    const done = (kind: string, index: number): void => {
      while (left[0] && left[0].kind !== kind) left.shift();
      if (!left[0] || index < left[0].from) return;
      tallyOf(kind).cases++;
      left[0] = { ...left[0], from: index + 1 };
      if (left[0].from >= left[0].to) left.shift();
    };
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-4000);
    });
    createInterface({ input: child.stdio[3] as Readable }).on("line", (line) => {
      const told = JSON.parse(line) as Told;
      if ("begins" in told) {
        const spent = spentBy(child.pid as number);
        const { kind, begins: index } = told;
        current = { kind, index, cpu: spent?.cpu ?? 0, rss: spent?.rss ?? 0 };
        moved = { cpu: current.cpu, at: performance.now() };
      } else if ("ends" in told) {
        current = undefined;
        if (told.ends >= 0 && !told.again) {
          done(told.kind, told.ends);
          tallyOf(told.kind).seconds += told.seconds ?? 0;
          if ("outcome" in told) tallyOf(told.kind)[told.outcome]++;
        }
        if ("fault" in told) fault(told.kind, told.ends, told.fault);
      }
    });
    const watch = setInterval(() => {
      const spent = current && spentBy(child.pid as number);
      if (!current || !spent || ended !== "") return;
      const cpu = spent.cpu - current.cpu;
      const grown = spent.rss - current.rss;
      if (spent.cpu > moved.cpu) moved = { cpu: spent.cpu, at: performance.now() };
      if (cpu > CPU_SECONDS + 1) ended = `still at work after ${cpu.toFixed(1)} s of processor time`;
      else if (grown > 4 * MEMORY) ended = `${Math.round(grown / 2 ** 20)} MiB of memory, and on`;
      else if (performance.now() - moved.at > 1000 * SILENCE)
        ended = `it waits: nothing was computed for ${SILENCE} s`;
      if (ended !== "") child.kill("SIGKILL");
    }, 100);
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
      child.on("close", (...how) => resolve(how)),
    );
    clearInterval(watch);
    if (code === 0) return [];
    if (current && current.index >= 0) {
      const { kind, index } = current;
      done(kind, index);
      fault(kind, index, ended || `the process ended with ${signal ?? code}: ${words}`);
    } else if (code !== TOLD) {
      fault(left[0]?.kind ?? "", -1, `the process ended between two cases, with ${signal ?? code}: ${words}`);
      left.shift();
    }
    return left.filter(({ kind }) => tallyOf(kind).faults.length <= ENOUGH);
  }

  await Promise.all(parts.map(work));
  return tallies;
}
