import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { UserError } from "../errors.js";
import { requireShared } from "./require-shared.js";

const folder = mkdtempSync(join(tmpdir(), "spo-shared-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The fault that each rank is told of, by code and message. */
async function told(folders: readonly string[]): Promise<(readonly [string, string] | undefined)[]> {
  const calls: { values: unknown[]; tell: (() => void)[] }[] = [];
  const gatherOf = (rank: number) => {
    let called = 0;
    return <T>(value: T): Promise<T[]> => {
      calls[called] ??= { values: [], tell: [] };
      const { values, tell } = calls[called++] as (typeof calls)[number];
      values[rank] = value;
      return new Promise((resolve) => {
        tell.push(() => resolve(values as T[]));
        if (tell.length === folders.length) for (const each of tell) each();
      });
    };
  };
  const size = folders.length;
  return Promise.all(
    folders.map((path, rank) =>
      requireShared({ rank, size, gather: gatherOf(rank) }, path).then(
        () => undefined,
        ({ code, message }: UserError) => [code, message] as const,
      ),
    ),
  );
}

test("a folder that not all ranks see is refused in each, with their numbers, and a shared one is left as it was", async () => {
  const [own, other, none] = [join(folder, "own"), join(folder, "other"), join(folder, "none")];
  for (const path of [own, other]) mkdirSync(path);
  expect(await told([own, own, own])).toEqual([undefined, undefined, undefined]);
  const words = `Rank 0's folder ${own} is not seen by all processes.\n  rank 2: ${other}\n  rank 3: ${none}`;
  expect(await told([own, own, other, none])).toEqual(Array(4).fill(["CONFIG", words]));
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(await told([file, own])).toEqual(Array(2).fill(["RESOURCE", expect.stringContaining(file)]));
  expect([own, other].map((path) => readdirSync(path))).toEqual([[], []]);
});
