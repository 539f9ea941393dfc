// Starts the processes of a launch, shows what they print, hands signals on, and ends all when one ends badly.
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { UserError } from "@spo/torch/files";
import { environmentOf, type LaunchFacts, type LaunchPlan } from "./launch-plan.js";

/** How a launch is done. */
export interface Launching {
  plan: LaunchPlan;
  facts: LaunchFacts;
  /** Of a process, and its arguments. */
  command: readonly [string, ...string[]];
  /** Told of what the processes print and how they end, a line at a time. */
  say: (line: string) => void;
  /** Given what rank 0 prints, a line at a time, which else goes to this process's streams; its errors then go nowhere. */
  onLine?: (line: string) => void;
  /** Aborted, all are killed. */
  signal?: AbortSignal;
  /** Time that the others have for their end after one ended badly or was to stop, ms. Default: 30 s, as torchrun. */
  patience?: number;
}

/** Signals that are handed on to all processes. */
export const HANDED_ON = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"] as const;

/**
 * Runs the processes to their end → the exit code: 0, or that of the first that ended badly (128 + n for signal n).
 *
 * Rank 0 prints as if it had been started alone; lines of the others begin with `[rank 1]`. Throws a UserError (`ENVIRONMENT`) where the
 * command cannot be started.
 */
export async function launchProcesses({
  plan,
  facts,
  command,
  say,
  onLine,
  signal: ended,
  patience = 30_000,
}: Launching): Promise<number> {
  const master = plan.master ?? { host: "127.0.0.1", port: await freePort() };
  const [program, ...words] = command;
  const alive = new Map<number, ChildProcess>();
  let failed: number | undefined;
  let deadline: NodeJS.Timeout | undefined;
  // A group of its own for each: the terminal's Ctrl-C comes once, from here, and nothing that it started is left.
  const tell = (signal: NodeJS.Signals): void => {
    for (const { pid } of alive.values()) signalGroup(pid, signal);
    deadline ??= setTimeout(() => {
      for (const { pid } of alive.values()) signalGroup(pid, "SIGKILL");
    }, patience);
  };
  for (const signal of HANDED_ON) process.on(signal, tell);
  ended?.addEventListener("abort", () => tell("SIGKILL"), { once: true });
  try {
    const ends = Array.from({ length: plan.nproc }, (_, localRank) => {
      const rank = plan.nodeRank * plan.nproc + localRank;
      const output = rank === 0 && !onLine ? "inherit" : "pipe";
      const child = spawn(program, words, {
        env: { ...facts.env, ...environmentOf(localRank, plan, master, facts) },
        stdio: ["ignore", output, rank === 0 && onLine ? "ignore" : output],
        detached: true,
      });
      alive.set(rank, child);
      for (const stream of [child.stdout, child.stderr])
        if (stream)
          createInterface({ input: stream }).on("line", (line) =>
            rank === 0 && onLine ? onLine(line) : say(`[rank ${rank}] ${line}`),
          );
      return new Promise<void>((resolve, reject) => {
        child.on("error", (error) => {
          alive.delete(rank);
          reject(notStarted(program, error));
        });
        child.on("close", (code, signal) => {
          if (!alive.delete(rank)) return; // it was never started
          const end = code ?? 128 + (signal ? constants.signals[signal] : 0);
          if (end !== 0 && failed === undefined) {
            failed = end;
            if (plan.nproc > 1 && !ended?.aborted)
              say(`rank ${rank} ended with ${signal ?? `exit code ${end}`}`);
            // Those that were told already are at their end; a second signal would cut it short.
            if (!deadline) tell("SIGTERM");
          }
          resolve();
        });
      });
    });
    await Promise.all(ends);
    return failed ?? 0;
  } catch (error) {
    tell("SIGKILL");
    throw error;
  } finally {
    clearTimeout(deadline);
    for (const signal of HANDED_ON) process.removeListener(signal, tell);
  }
}

function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has just ended.
  }
}

const notStarted = (program: string, error: Error): UserError =>
  new UserError(`${program} cannot be started: ${error.message}.`, {
    code: "ENVIRONMENT",
    hint: "After -- stands a command: spo launch --nproc 2 -- spo train spo my.json",
    cause: error,
  });

/** A port of this machine that nobody has now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}
