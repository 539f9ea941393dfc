// The metrics of a run for other programs. No engine.
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { writeMetricTable } from "@spo/data";
import { csvOf, metricTable, readRun, TENSORBOARD, TensorboardLog } from "@spo/records";
import { UserError, writeFileAtomic } from "@spo/torch/files";
import type { CommonOptions } from "../options/common-options.js";
import { putJson, putPath } from "../terminal/terminal.js";

export interface ExportOptions extends CommonOptions {
  to: "csv" | "parquet" | "tensorboard";
  output?: string;
}

/** Throws a UserError where the folder holds no run, or TensorBoard's files are there already. */
export function exportRun(folder: string, { to, output, json }: ExportOptions): void {
  const { events } = readRun(folder);
  const path = output ?? join(folder, to === "tensorboard" ? TENSORBOARD : `metrics.${to}`);
  if (to === "tensorboard") {
    if (existsSync(path))
      throw new UserError(`${path} is there already, and TensorBoard would show both.`, {
        code: "USAGE",
        hint: "Give another folder by --output.",
      });
    const log = new TensorboardLog(folder, { folder: path });
    for (const event of events) log.add(event);
  } else if (to === "csv") writeFileAtomic(path, csvOf(metricTable(events)));
  else writeMetricTable(path, metricTable(events));
  if (json) putJson({ schema: "spo.export/1", run: folder, to, path });
  else putPath(resolve(path));
}
