import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Vote, VoteLog } from "./index.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-votes-"));
  path = join(folder, "votes.jsonl");
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

const vote = (id: string): Vote => ({
  schema: "spo.vote/1",
  id,
  prompt: "a bear",
  image_0: "0".repeat(64),
  image_1: "1".repeat(64),
  preference: 1,
  labeller: "anna",
});
const linesOf = (): Vote[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
const idsOf = (): string[] => linesOf().map(({ id }) => id);

test("what is acknowledged is in the file, an ID that came twice once, also after opening anew", async () => {
  const log = await VoteLog.open(path);
  await Promise.all(["a", "b", "a", "c"].map((id) => log.append(vote(id))));
  expect(idsOf()).toEqual(["a", "b", "c"]);
  await log.close();
  const again = await VoteLog.open(path);
  expect(again.votes.map(({ id }) => id)).toEqual(["a", "b", "c"]);
  await again.append(vote("b"));
  await again.append(vote("d"));
  expect(idsOf()).toEqual(["a", "b", "c", "d"]);
  await again.close();
});

test("the half line of a killed process is cut off, wherever it was cut", async () => {
  const whole = ["a", "b"].map((id) => `${JSON.stringify(vote(id))}\n`).join("");
  const half = `${JSON.stringify(vote("c"))}`;
  for (let length = 0; length <= half.length; length += 7) {
    writeFileSync(path, whole + half.slice(0, length));
    const log = await VoteLog.open(path);
    await log.append(vote("d"));
    await log.close();
    expect(idsOf()).toEqual(["a", "b", "d"]);
  }
});

test("a line that is no vote is refused, and nothing is written", async () => {
  writeFileSync(path, `${JSON.stringify(vote("a"))}\n{"id":1}\n`);
  await expect(VoteLog.open(path)).rejects.toThrow(/line 2 is no vote/);
  appendFileSync(path, "");
  expect(readFileSync(path, "utf8").split("\n")).toHaveLength(3);
});

test("one process at a time", async () => {
  const log = await VoteLog.open(path);
  await expect(VoteLog.open(path)).rejects.toThrow(/is being written by process/);
  await log.close();
  await (await VoteLog.open(path)).close();
});

test("on a full disk the vote is refused aloud, half of it is taken away, and what was acknowledged stays", async () => {
  const log = await VoteLog.open(path);
  await log.append(vote("a"));
  const handle = await open(path, "r");
  const kind = Object.getPrototypeOf(handle) as {
    write: (...args: unknown[]) => Promise<{ bytesWritten: number }>;
  };
  await handle.close();
  const { write } = kind;
  const full = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC", syscall: "write" });
  const spied = vi.spyOn(kind, "write").mockImplementation(async function (
    this: unknown,
    text,
    at,
    length,
    place,
  ) {
    await write.call(this, text, at, Math.min(10, length as number), place); // a part of it, then no more
    throw full;
  });
  await expect(log.append(vote("b"))).rejects.toMatchObject({
    code: "RESOURCE",
    message: expect.stringMatching(/full/),
  });
  expect(idsOf()).toEqual(["a"]);
  expect(readFileSync(path, "utf8").endsWith("\n")).toBe(true);
  spied.mockRestore();
  await log.append(vote("b")); // there is room again
  await log.append(vote("c"));
  expect(idsOf()).toEqual(["a", "b", "c"]);
  await log.close();
});
