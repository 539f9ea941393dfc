import type { Work, WorkMeter } from "@spo/records";
import type { World } from "@spo/torch/distributed";

/**
 * What all processes have spent since the last call: passes and CPU seconds are added up, time on the clock is this process's.
 *
 * ranks: of several processes, the seconds on the clock that each computed, by rank; the slowest one makes the others wait.
 */
export async function spentTogether(world: World, meter: WorkMeter): Promise<Work & { ranks?: number[] }> {
  const mine = meter.take();
  const all = await world.gather(mine);
  const ranks = all.map(({ phases }) => Object.values(phases).reduce((sum, { wall }) => sum + wall, 0));
  const others = all.filter((_, rank) => rank !== world.rank);
  for (const { passes, phases } of others) {
    for (const pass of Object.keys(mine.passes) as (keyof Work["passes"])[])
      mine.passes[pass] += passes[pass];
    for (const [name, { cpu }] of Object.entries(phases)) {
      const phase = mine.phases[name];
      mine.phases[name] = { wall: phase?.wall ?? 0, cpu: (phase?.cpu ?? 0) + cpu };
    }
  }
  return world.size > 1 ? { ...mine, ranks } : mine;
}
