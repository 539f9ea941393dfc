import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { fileOfRun, Run, readOrdinary, readRecord, readRun } from "./index.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "spo-read-record-"));
  path = join(folder, "x.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

const Facts = z.object({ step: z.int(), files: z.array(z.string()) });

test("a record of its schema is read; what is none is told with file and place, in one line", () => {
  writeFileSync(path, '{"step":1,"files":["a"]}');
  expect(readRecord(path, Facts)).toEqual({ step: 1, files: ["a"] });
  for (const [text, why] of [
    ["", /is damaged: Unexpected end/],
    ["null", /is damaged: .*expected object/],
    ['{"step":1}', /files: (?!.*undefined)/],
    ['{"step":1.5,"files":[1]}', /step: .*int.*; files\.0: .*string/],
    [`{"step":1,"files":[${"1,".repeat(10_000)}1]}`, /^[^\n]{1,400}$/],
  ] as const) {
    writeFileSync(path, text);
    expect(() => readRecord(path, Facts)).toThrow(
      expect.objectContaining({ code: "DATA", message: expect.stringMatching(why) }),
    );
  }
});

test("one that is nested without end costs no more than its size", () => {
  writeFileSync(path, "[".repeat(20e6));
  const before = process.memoryUsage.rss();
  expect(() => readRecord(path, z.unknown())).toThrow(/nested more than 100 deep/);
  expect(process.memoryUsage.rss() - before).toBeLessThan(200e6);
});

test("only ordinary files of a sensible size are read", () => {
  truncateSync(writtenTo(path), 2e9); // takes no room on the disk
  expect(() => readOrdinary(path)).toThrow(/is larger than 500 MB/);
  symlinkSync("/dev/zero", join(folder, "zero"));
  expect(() => readOrdinary(join(folder, "zero"))).toThrow(/is no ordinary file/);
  expect(() => readOrdinary(folder)).toThrow(/is no ordinary file/);
  execFileSync("mkfifo", [join(folder, "pipe")]);
  expect(() => readOrdinary(join(folder, "pipe"))).toThrow(/is no ordinary file/);
});

function writtenTo(file: string): string {
  writeFileSync(file, "");
  return file;
}

test("of a run's files those inside its folder are shown, and no others", () => {
  mkdirSync(join(folder, "run", "images"), { recursive: true });
  writeFileSync(join(folder, "run", "images", "1.png"), "p");
  writeFileSync(join(folder, "secret"), "s");
  symlinkSync(join(folder, "secret"), join(folder, "run", "images", "link"));
  symlinkSync(folder, join(folder, "run", "linked"));
  const read = (file: string): Uint8Array | undefined => fileOfRun(join(folder, "run"), file);
  expect(Buffer.from(read("images/1.png") ?? []).toString()).toBe("p");
  for (const other of [
    "../secret",
    "images/../../secret",
    join(folder, "secret"),
    "",
    ".",
    "images",
    "images/2.png",
    "/dev/zero",
    "images/link",
    "linked/secret",
  ])
    expect(read(other)).toBeUndefined();
});

describe.runIf(existsSync("/dev/zero"))("a run's folder whose files are devices or pipes", () => {
  test.each(["config.json", "events.jsonl"])("as %s ends with words", (name) => {
    const run = join(folder, "run");
    Run.open(run, { kind: "spo", config: {} }).close();
    rmSync(join(run, name));
    execFileSync("mkfifo", [join(run, name)]);
    expect(() => readRun(run)).toThrow(/is no ordinary file/);
    expect(() => Run.open(run, { kind: "spo", config: {} })).toThrow(/is no ordinary file/);
  });
});
