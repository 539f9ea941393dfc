// What Studio's button does: a training on the votes of a set, as a process of its own.
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { UserError } from "@spo/torch/files";
import { startSelf } from "./run-self.js";

/** Starts `spo train votes` on a set; gives the name of the folder of both runs, beside the set. words: its options but the folder. */
export function votesTrainer(words: readonly string[]): (set: string) => string {
  const running = new Map<string, () => boolean>();
  return (set) => {
    if (running.get(set)?.())
      throw new UserError(`${basename(set)} is being trained on already.`, {
        code: "RESOURCE",
        hint: "Its runs are in the list; press again when they have ended.",
      });
    const place = (n: number): string => join(dirname(set), `${basename(set)}-trained-${n}`);
    let n = 1;
    while (existsSync(place(n)) || existsSync(`${place(n)}.log`)) n++;
    running.set(set, startSelf(["train", "votes", set, "--run", place(n), ...words], `${place(n)}.log`));
    return basename(place(n));
  };
}
