// Runs the real command line as a user would: another process, the built files.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../packages/cli/bin/spo.js", import.meta.url));

export interface Ended {
  /** Null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface Started {
  process: ChildProcess;
  ended: Promise<Ended>;
}

export interface CliOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** For stdin. */
  input?: string;
  /** Sent by the process to itself once it has printed so many lines: then and not later, however slow this process is to read them. */
  signal?: { name: NodeJS.Signals; afterLines: number };
}

export function startCli(
  args: readonly string[],
  { cwd, env = {}, input, signal }: CliOptions = {},
): Started {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is not there`);
  const child = spawn(process.execPath, [...(signal ? signalling(signal) : []), PROGRAM, ...args], {
    cwd,
    // One thread: the same bits in every run.
    env: { ...process.env, npm_lifecycle_event: undefined, OMP_NUM_THREADS: "1", NO_COLOR: "1", ...env },
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  child.stdin?.end(input);
  const ended = new Promise<Ended>((resolve, reject) => {
    let [stdout, stderr] = ["", ""];
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return { process: child, ended };
}

function signalling({ name, afterLines }: NonNullable<CliOptions["signal"]>): string[] {
  const code = `
    const write = process.stdout.write;
    let lines = 0;
    process.stdout.write = function (text, ...rest) {
      const wrote = write.call(this, text, ...rest);
      if (String(text).endsWith("\\n") && ++lines === ${afterLines}) process.kill(process.pid, "${name}");
      return wrote;
    };`;
  return ["--import", `data:text/javascript,${encodeURIComponent(code)}`];
}

export const cli = (args: readonly string[], options?: CliOptions): Promise<Ended> =>
  startCli(args, options).ended;

/** The words of a command line without quotes or spaces within. */
export const words = (line: string): string[] => line.trim().split(/\s+/);
