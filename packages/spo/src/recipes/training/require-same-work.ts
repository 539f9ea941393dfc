import type { DataFacts } from "@spo/records";
import { requireSame, type World } from "@spo/torch/distributed";

/**
 * Throws a UserError (`CONFIG`) in every process where they were not started for the same work.
 *
 * settings: those that the result depends on, without places and device, which may differ. data: numbers and digests.
 */
export async function requireSameWork(world: World, settings: object, data: DataFacts): Promise<void> {
  const words = Object.entries(settings).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, JSON.stringify(value)]],
  );
  await requireSame(world, "settings", Object.fromEntries(words));
  await requireSame(world, "data", data);
}
