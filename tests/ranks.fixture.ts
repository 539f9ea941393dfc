// Real processes that work together, for tests: each runs the same function on a world of its own rank.
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";

/** A free port of 127.0.0.1. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

/** How a rank ended, and what it printed. */
export interface RankEnd {
  code: number | null;
  output: string;
}

/** A rank at work. */
export interface RankProcess {
  child: ChildProcess;
  ended: Promise<RankEnd>;
  /** Resolves when it has printed a line. */
  printed: (line: string) => Promise<void>;
}

/** Starts a program in a process of its own. namespace: the network's that it sees; default this process's. */
export function startRank(
  program: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
  namespace?: string,
): RankProcess {
  const within = namespace === undefined ? [] : ["ip", "netns", "exec", namespace];
  const [first = "", ...rest] = [...within, process.execPath, program, ...words];
  const child = spawn(first, rest, {
    env: { ...process.env, OMP_NUM_THREADS: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const waiting: { line: string; tell: () => void }[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (data: Buffer) => {
      output += data;
      for (const { line, tell } of waiting) if (output.includes(line)) tell();
    });
  const ended = new Promise<RankEnd>((resolve) => child.on("close", (code) => resolve({ code, output })));
  return {
    child,
    ended,
    printed: (line) => new Promise((tell) => (output.includes(line) ? tell() : waiting.push({ line, tell }))),
  };
}
