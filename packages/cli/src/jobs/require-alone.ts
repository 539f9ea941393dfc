import { launchPlace } from "@spo/torch/distributed";
import { UserError } from "@spo/torch/files";

/** Throws a UserError (`CONFIG`) where a launcher started several processes of a command for one alone: all would write the same. */
export function requireAlone(command: string, env: NodeJS.ProcessEnv): void {
  const { size = 1 } = launchPlace(env) ?? {};
  if (size === 1) return;
  throw new UserError(`${command} runs in one process, and here are ${size}.`, {
    code: "CONFIG",
    hint: "Start it without the launcher. Trainings and `spo sample` are shared out over several.",
  });
}
