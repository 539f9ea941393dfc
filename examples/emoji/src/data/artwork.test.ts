import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, expect, test } from "vitest";
import { readArtwork } from "./artwork.js";

const folder = mkdtempSync(join(tmpdir(), "spo-artwork-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("artwork of which nothing is left is refused, and its file is named", async () => {
  const path = join(folder, "artwork.parquet");
  const buffer = parquetWriteBuffer({
    columnData: [
      { name: "image", data: [new Uint8Array(1)], type: "BYTE_ARRAY" },
      ...["caption", "concept", "set"].map((name) => ({ name, data: ["star"], type: "STRING" as const })),
      { name: "core", data: [false], type: "BOOLEAN" },
    ],
  });
  writeFileSync(path, new Uint8Array(buffer));
  const refusal = { code: "DATA", message: `${path}: no artwork is left to train on.` };
  await expect(readArtwork(path, { core: true })).rejects.toMatchObject(refusal);
  await expect(readArtwork(path, { leaveOut: ["star"] })).rejects.toMatchObject(refusal);
});
