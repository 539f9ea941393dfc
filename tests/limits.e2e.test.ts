// A process that may open few files, or has little address space, ends with words and exit code 5, never as a bug or a fault of the data.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, beforeAll, expect, test } from "vitest";

const PROGRAM = fileURLToPath(new URL("../packages/cli/bin/spo.js", import.meta.url));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-limits-"));
  const text = (name: string, value: string) => ({ name, data: [value], type: "STRING" as const });
  const bytes = (name: string) => ({ name, data: [Uint8Array.of(1)], type: "BYTE_ARRAY" as const });
  const label = (name: string, value: number) => ({ name, data: [value], type: "DOUBLE" as const });
  const columnData = [
    text("caption", "a cat"),
    ...[bytes("jpg_0"), bytes("jpg_1"), label("label_0", 1), label("label_1", 0)],
  ];
  writeFileSync(join(folder, "pairs.parquet"), new Uint8Array(parquetWriteBuffer({ columnData })));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const limited = (limit: string, ...args: string[]) =>
  spawnSync("sh", ["-c", `ulimit ${limit} && exec "$0" "$@"`, process.execPath, PROGRAM, ...args], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", npm_lifecycle_event: undefined },
  });

test.each(["-n 40", "-n 48"])("ulimit %s", (limit) => {
  const { status, stderr } = limited(limit, "data", "check", "pairs.parquet");
  expect(stderr).toMatch(/^spo: Too many files are open/);
  expect(status).toBe(5);
});

test.runIf(process.platform === "linux").each(["-v 1300000", "-v 3000000"])("ulimit %s", (limit) => {
  const { status, stderr } = limited(limit, "data", "check", "pairs.parquet");
  expect(stderr).toMatch(/^spo: .*(memory|address space)/i);
  expect(stderr).not.toMatch(/not a whole|this is a bug/);
  expect(status).toBe(5);
});
