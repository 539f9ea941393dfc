import type { Kind } from "./kind.js";
import type { Task } from "./told.js";

/** Cases in one process: what it keeps in its caches goes with it. */
const LONGEST = 20_000;

/** `count` cases of each group, shared among its kinds, in pieces that a process reads. */
export function tasksOf(kinds: readonly Kind[], count: number): Task[] {
  return kinds.flatMap(({ name, group, count: all, share = 1 }) => {
    if (all !== undefined) return [{ kind: name, from: 0, to: all }];
    const shares = kinds
      .filter((kind) => kind.group === group)
      .reduce((sum, kind) => sum + (kind.share ?? 1), 0);
    const own = Math.ceil((count * share) / shares);
    return Array.from({ length: Math.ceil(own / LONGEST) }, (_, i) => ({
      kind: name,
      from: i * LONGEST,
      to: Math.min(own, (i + 1) * LONGEST),
    }));
  });
}
