// A launch: what it is to be, for a training without a GPU what is fastest, then the processes.
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
