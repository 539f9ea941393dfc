import { existsSync } from "node:fs";
import { basename, extname } from "node:path";
import { importOwn, isModulePath } from "@spo/records/config";
import { UserError } from "@spo/torch/files";
import type { Reward } from "./reward.js";

/** Whether a spec names a module of the user's own. */
export const isModule = isModulePath;

/**
 * A user's own reward: the default export of a module, an object with `score`, or a function that makes one (also later).
 *
 * context: what such a function is given. Its name is the file's where it has none. Throws a UserError for what is missing, does not load
 * or is no reward.
 */
export async function loadOwnReward(path: string, context?: unknown): Promise<Reward> {
  const bad = (what: string, hint: string, cause?: unknown): UserError =>
    new UserError(`${path} ${what}.`, { code: "DATA", hint, cause });
  if (!existsSync(path))
    throw bad("does not exist", "Give the path of a module whose default export is a reward.");
  let made: unknown;
  try {
    const exported = await importOwn(path);
    made = await (typeof exported === "function"
      ? (exported as (context?: unknown) => unknown)(context)
      : exported);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw bad(
      `does not load: ${(error as Error).message}`,
      "It is run as a module; try it alone with node.",
      error,
    );
  }
  if (typeof made !== "object" || made === null || typeof (made as Partial<Reward>).score !== "function")
    throw bad(
      "exports no reward by default",
      "Export an object with score(images, prompts), or a function that makes one.",
    );
  const reward = made as Reward;
  return reward.name ? reward : Object.assign(reward, { name: basename(path, extname(path)) });
}
