import { randomUUID } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { UserError } from "../errors.js";
import { writeFileAtomic } from "../files.js";
import type { World } from "./world.js";

/**
 * Throws a UserError (`CONFIG`) in every process, naming the ranks, where not all see the same folder: each writes its share there.
 *
 * folder: rank 0 makes it where it is missing, and puts a file into it for a moment. Throws a UserError (`RESOURCE`) where that may not be.
 */
export async function requireShared(
  world: Pick<World, "rank" | "size" | "gather">,
  folder: string,
): Promise<void> {
  if (world.size === 1) return;
  const [name] = (await world.gather(`.shared-${randomUUID()}`)) as [string, ...string[]];
  const path = resolve(folder, name);
  const [refused] = await world.gather(world.rank === 0 ? faultOfWriting(path) : undefined);
  if (refused !== undefined) throw new UserError(refused, { code: "RESOURCE" });
  try {
    const found = await world.gather({ at: resolve(folder), isIt: existsSync(path) });
    const without = found.flatMap(({ at, isIt }, rank) => (isIt ? [] : [`  rank ${rank}: ${at}`]));
    if (without.length > 0)
      throw new UserError(
        `Rank 0's folder ${found[0]?.at} is not seen by all processes.\n${without.join("\n")}`,
        {
          code: "CONFIG",
          hint: "Give a folder that all machines share.",
        },
      );
  } finally {
    if (world.rank === 0) rmSync(path, { force: true });
  }
}

/** Writes an empty file → why that fails, where it does. */
function faultOfWriting(path: string): string | undefined {
  try {
    writeFileAtomic(path, "");
  } catch (error) {
    return (error as Error).message;
  }
}
