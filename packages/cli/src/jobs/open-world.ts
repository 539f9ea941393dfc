import { initWorld, launchPlace, requireSame, type World, type WorldOptions } from "@spo/torch/distributed";
import { version } from "../terminal/version.js";

/**
 * Joins the processes that a launcher started with this one. place: where it found this one to stand.
 *
 * Throws as `initWorld`; a UserError (`CONFIG`) naming ranks and versions where the command or Node differs: they may compute otherwise.
 */
export async function openWorld(place = launchPlace(process.env), options?: WorldOptions): Promise<World> {
  const world = await initWorld(place, options);
  await requireSame(world, "versions", { spo: version, node: process.versions.node });
  return world;
}
