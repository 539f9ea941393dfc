// What those who watch a training ask of it, as empty files in its folder. The training takes them between two steps.
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { UserError, writeFileAtomic } from "@spo/torch/files";

/** Draw the held-out samples now; write a checkpoint now; write one and end. */
export const RUN_REQUESTS = ["sample", "save", "stop"] as const;
/** One of them. */
export type RunRequest = (typeof RUN_REQUESTS)[number];

const pathOf = (folder: string, request: RunRequest): string => join(folder, `${request}.request`);

/** Asks it of the process that writes a run, which answers after its step. Throws a UserError (`RESOURCE`) where it cannot be written. */
export function askRun(folder: string, request: RunRequest): void {
  if (!existsSync(folder))
    throw new UserError(`${folder} cannot be asked to ${request}: it is not there.`, { code: "RESOURCE" });
  writeFileAtomic(pathOf(folder, request), "");
}

/** What a run was asked and has not taken yet. */
export const openRequests = (folder: string): RunRequest[] =>
  RUN_REQUESTS.filter((request) => existsSync(pathOf(folder, request)));

/** The same, taken: nobody is given it again. */
export function takeRequests(folder: string): RunRequest[] {
  const found = openRequests(folder);
  for (const request of found) rmSync(pathOf(folder, request), { force: true });
  return found;
}
