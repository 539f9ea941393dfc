// A launch: what it is to be, for a training without a GPU what is fastest, then the processes.
import { readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { say } from "../terminal/terminal.js";
import { canBeTried, fastestLayout } from "./fastest-layout.js";
import { type LaunchFacts, type LaunchOptions, type LaunchPlan, launchPlan } from "./launch-plan.js";
import { launchProcesses } from "./launch-processes.js";

/** What is to be launched, and where it is told. */
export interface Launch {
  options: LaunchOptions;
  /** What a person wrote behind `--`. */
  words: readonly string[];
  /** The program of those words, and its arguments. */
  command: readonly [string, ...string[]];
  facts: LaunchFacts;
  /** Told what the processes print. */
  say: (line: string) => void;
  /** Told how the launch was decided. */
  tell: (line: string) => void;
}

/** Decides and runs a launch → its exit code. Throws as `launchPlan` and `launchProcesses` do. */
export async function launch({ options, words, command, facts, say, tell }: Launch): Promise<number> {
  const plan = launchPlan(options, facts);
  if (!plan.byCores || plan.nnodes > 1 || !canBeTried(words)) return start(plan, facts);
  const found = await fastestLayout({ command, facts, say: tell });
  if ("stopped" in found) return found.stopped;
  const { processes, threads } = found;
  const sources = [`nproc ${processes} (fastest)`, `OMP_NUM_THREADS ${threads}`];
  return start(
    { ...plan, nproc: processes, sources },
    { ...facts, env: { ...facts.env, OMP_NUM_THREADS: String(threads) } },
  );

  function start(plan: LaunchPlan, facts: LaunchFacts): Promise<number> {
    tell(`launch: ${plan.sources.join(", ")}`);
    return launchProcesses({ plan, facts, command, say });
  }
}

/** Runs the command that this process was started with in several ones → its exit code. They tell themselves apart by RANK. */
export const launchSelf = (nproc: number): Promise<number> =>
  launchProcesses({
    plan: { nproc, nnodes: 1, nodeRank: 0, sources: [] },
    facts: factsOfMachine(),
    command: [process.execPath, ...process.argv.slice(1)],
    say,
  });

/** What a launch goes by on this machine. */
export const factsOfMachine = (): LaunchFacts => ({
  env: process.env,
  gpus: cards(),
  cores: availableParallelism(),
});

/** NVIDIA's GPUs of this machine. */
function cards(): number {
  try {
    return readdirSync("/dev").filter((name) => /^nvidia\d+$/.test(name)).length;
  } catch {
    return 0;
  }
}
