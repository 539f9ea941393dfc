import type { MetricTable } from "@spo/records";
import { writeFileAtomic } from "@spo/torch/files";
import { parquetWriteBuffer } from "hyparquet-writer";

/** Writes the metrics of a run as parquet, whole or not at all. */
export function writeMetricTable(path: string, { type, step, at, metrics }: MetricTable): void {
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "type", data: type, type: "STRING" },
      { name: "step", data: step, type: "INT32" },
      { name: "at", data: at, type: "STRING" },
      ...[...metrics].map(([name, data]) => ({ name, data, type: "DOUBLE" as const, nullable: true })),
    ],
  });
  writeFileAtomic(path, new Uint8Array(buffer));
}
