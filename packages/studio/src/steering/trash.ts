// Runs that were deleted are moved into a folder beside the others, from where they can be had back.
import { existsSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { makeFolder, renameDurably, runWriter, UserError } from "@spo/records";
import type { FoundRun } from "../runs/find-runs.js";

/** Its name starts with a dot, so no run is looked for in it. */
const TRASH = ".trash";

/** The trash of one folder of runs. */
export class Trash {
  readonly #root: string;
  /** Of this server: from where to where, by ID. */
  readonly #moved = new Map<string, { from: string; to: string }>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Moves a run there and gives its new path below the root. Throws a UserError (`USAGE`) for one at work or the root itself. */
  take({ id, name, folder }: FoundRun): string {
    if (typeof runWriter(folder) === "object")
      throw new UserError(`${name} is at work.`, { code: "USAGE", hint: "Stop it first." });
    if (folder === this.#root)
      throw new UserError(`${name} is the folder that Studio shows.`, {
        code: "USAGE",
        hint: "Start Studio on the folder above it.",
      });
    const trash = join(this.#root, TRASH);
    makeFolder(trash);
    const named = `${new Date().toISOString().replaceAll(":", "-")} ${basename(folder)}`;
    const to = join(trash, named);
    renameDurably(folder, to);
    this.#moved.set(id, { from: folder, to });
    return relative(this.#root, to);
  }

  /** Puts a run back that this server has moved. Throws a UserError (`DATA`) where it is not there or its place is taken. */
  restore(id: string): void {
    const known = this.#moved.get(id);
    if (!known || !existsSync(known.to))
      throw new UserError("This run is not in the trash any more.", { code: "DATA" });
    if (existsSync(known.from))
      throw new UserError(`There is another ${relative(this.#root, known.from)} now.`, {
        code: "USAGE",
        hint: `The deleted one is ${relative(this.#root, known.to)}.`,
      });
    makeFolder(dirname(known.from));
    renameDurably(known.to, known.from);
    this.#moved.delete(id);
  }
}
