// Where a process stands, as its launcher tells it: torchrun and what starts processes as torchrun does.
import { UserError } from "../errors.js";
import type { WorldPlace } from "./init-world.js";

/** The variables that a launcher sets for every process, all or none. */
const NEEDED = ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"] as const;

/**
 * The place that torchrun's variables tell: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; TORCHELASTIC_USE_AGENT_STORE where its agent
 * holds the store, TORCHELASTIC_RESTART_COUNT of a restarted job. Undefined without RANK and WORLD_SIZE.
 *
 * Throws a UserError (`ENVIRONMENT`) that names the variable: for some of them alone, and for what is no such number.
 * Source: PyTorch, torch.distributed.run, "Environment variables".
 */
export function launchPlace(env: Readonly<Record<string, string | undefined>>): WorldPlace | undefined {
  const given = NEEDED.filter((name) => env[name]);
  if (!env.RANK && !env.WORLD_SIZE) return undefined;
  const missing = NEEDED.filter((name) => !given.includes(name));
  if (missing.length > 0)
    throw fault(
      `${given.join(", ")} ${given.length === 1 ? "is" : "are"} set, but not ${missing.join(", ")}`,
    );
  const size = whole(env, "WORLD_SIZE", 1, 1_000_000);
  return {
    rank: whole(env, "RANK", 0, size - 1),
    size,
    host: env.MASTER_ADDR as string,
    port: whole(env, "MASTER_PORT", 1, 65_535),
    storeIsHeld: env.TORCHELASTIC_USE_AGENT_STORE === "True",
    attempt: env.TORCHELASTIC_RESTART_COUNT ?? "0",
  };
}

function whole(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
  least: number,
  most: number,
): number {
  const text = env[name] as string;
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < least || number > most)
    throw fault(`${name} is ${JSON.stringify(text)}, and must be a whole number from ${least} to ${most}`);
  return number;
}

const fault = (what: string): UserError =>
  new UserError(`The launcher's variables do not fit: ${what}.`, {
    code: "ENVIRONMENT",
    hint: "torchrun sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT together; unset them all to run one process.",
  });
