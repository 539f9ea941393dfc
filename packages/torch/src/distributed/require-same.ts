import { UserError } from "../errors.js";
import type { World } from "./world.js";

/**
 * Throws a UserError (`CONFIG`) in every process where the ranks' values of something are not the same.
 *
 * what: as the message calls it, `settings`. facts: by name; numbers and texts.
 */
export async function requireSame(
  world: World,
  what: string,
  facts: Readonly<Record<string, string | number>>,
): Promise<void> {
  if (world.size === 1) return;
  const [first, ...others] = (await world.gather(facts)) as [typeof facts, ...(typeof facts)[]];
  const lines = others.flatMap((those, i) =>
    [...new Set([...Object.keys(first), ...Object.keys(those)])]
      .filter((key) => first[key] !== those[key])
      .map((key) => `  ${key}: rank 0 has ${shown(first[key])}, rank ${i + 1} has ${shown(those[key])}`),
  );
  if (lines.length === 0) return;
  throw new UserError(`The processes do not have the same ${what}.\n${lines.join("\n")}`, {
    code: "CONFIG",
    hint: "Start every process with the same words, data and versions.",
  });
}

const shown = (value: string | number | undefined): string =>
  value === undefined ? "none" : typeof value === "number" ? String(value) : JSON.stringify(value);
