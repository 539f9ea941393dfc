import { initWorld, launchPlace, requireSame, type World, type WorldOptions } from "@spo/torch/distributed";
import { version } from "../terminal/version.js";

/**
 * Joins the processes that a launcher started with this one. command: what they are to do together, `train spo`. place: where the launcher
 * found this one to stand.
 *
 * Throws as `initWorld`; a UserError (`CONFIG`) naming ranks and values where the command differs, or its version or Node's: they may
 * compute otherwise.
 */
export async function openWorld(
  command: string,
  place = launchPlace(process.env),
  options?: WorldOptions,
): Promise<World> {
  const world = await initWorld(place, options);
  await requireSame(world, "versions", { spo: version, node: process.versions.node });
  await requireSame(world, "command", { spo: command });
  return world;
}
