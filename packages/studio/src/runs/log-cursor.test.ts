import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LogCursor } from "./log-cursor.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-log-cursor-"));
  path = join(folder, "events.jsonl");
});
afterEach(() => rmSync(folder, { recursive: true }));

const textsOf = (cursor: LogCursor): string[] => {
  const texts: string[] = [];
  for (let atEnd = false; !atEnd; ) {
    const read = cursor.read();
    texts.push(...read.lines.map(({ text }) => text));
    atEnd = read.atEnd;
  }
  return texts;
};

test("each whole line is read once, a half one when it is whole", () => {
  const cursor = new LogCursor(path);
  expect(cursor.read()).toEqual({ anew: false, lines: [], atEnd: true }); // not there yet
  writeFileSync(path, "one\ntw");
  expect(textsOf(cursor)).toEqual(["one"]);
  expect(textsOf(cursor)).toEqual([]);
  appendFileSync(path, "o\nthree\n");
  expect(textsOf(cursor)).toEqual(["two", "three"]);
});

test("from the mark of any line, another reader goes on behind it", () => {
  const lines = Array.from({ length: 50 }, (_, i) => `${i} ${"é".repeat(i * 3)}`);
  writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
  for (const [i, line] of new LogCursor(path).read().lines.entries()) {
    const later = new LogCursor(path, line.mark());
    expect(later.mark).toBe(line.mark());
    const { anew, lines: rest } = later.read();
    expect([anew, rest.map(({ text }) => text)]).toEqual([false, lines.slice(i + 1)]);
  }
});

test("a log that was cut and written again is told, though it is as long as before", () => {
  writeFileSync(path, "one\ntwo\nthree\n");
  const cursor = new LogCursor(path);
  textsOf(cursor);
  truncateSync(path, 4);
  appendFileSync(path, "TWO\nTHREE\n");
  const { anew, lines } = cursor.read();
  expect(anew).toBe(true);
  expect(lines.map(({ text }) => text)).toEqual(["one", "TWO", "THREE"]);
});

test.each(["nonsense", "", "7-0123456789abcdef", "999999999999999-0123456789abcdef", "-1-x"])(
  "behind the mark %j, which the log does not hold, it is read from its start",
  (mark) => {
    writeFileSync(path, "one\ntwo\n");
    const { anew, lines } = new LogCursor(path, mark).read();
    expect([anew, lines.length]).toEqual([true, 2]);
  },
);

test("lines longer than a chunk, and many of them, are read whole", () => {
  const lines = ["a".repeat(3 << 20), "b", "c".repeat(1 << 20), "d"];
  writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
  expect(textsOf(new LogCursor(path))).toEqual(lines);
});
