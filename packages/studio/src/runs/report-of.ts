import { lstatSync } from "node:fs";
import { join } from "node:path";
import { readRun, UserError } from "@spo/records";
import { reportPage, runReport, stripRounds } from "@spo/records/report";
import type { FoundRun } from "./find-runs.js";
import { stripRoundsOf } from "./step-view.js";

/** A run as one HTML page that needs no server. Throws a UserError (`DATA`) where parts of it are links, which could name any file. */
export function reportOf({ name, folder }: FoundRun): string {
  const isFile = (file: string): boolean =>
    lstatSync(join(folder, file), { throwIfNoEntry: false })?.isFile() ?? false;
  const kept = stripRounds(join(folder, "strips")).length;
  if (!isFile("config.json") || !isFile("events.jsonl") || kept !== stripRoundsOf(folder).length)
    throw new UserError(`${name} has parts that are missing or links to elsewhere: there is no page of it.`, {
      code: "DATA",
      hint: `If the run is yours: npx spo report ${name}`,
    });
  return reportPage(runReport(readRun(folder)));
}
