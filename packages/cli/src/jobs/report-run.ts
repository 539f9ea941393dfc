// A training's report, from its run's folder alone. No engine, so a run copied from another machine can be viewed.
import { join, resolve } from "node:path";
import { readRun } from "@spo/records";
import { runReport } from "@spo/records/report";
import { writeReport } from "spo/report";
import type { CommonOptions } from "../options/common-options.js";
import { putJson, putPath } from "../terminal/terminal.js";

/** Writes `report/` into the run's folder. */
export async function reportRun(folder: string, { json }: CommonOptions): Promise<void> {
  const { html, json: facts, images } = await writeReport(join(folder, "report"), runReport(readRun(folder)));
  if (json) putJson({ schema: "spo.report/1", folder, report: html, facts, images });
  else putPath(resolve(html));
}
