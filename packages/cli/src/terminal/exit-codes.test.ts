import { readdirSync, readFileSync, statSync } from "node:fs";
import { UserError, type UserErrorCode } from "@spo/torch/files";
import { expect, test } from "vitest";
import { EXIT_CODES, faultOf } from "./exit-codes.js";

test.each([
  ["USAGE", 2],
  ["CONFIG", 3],
  ["DATA", 4],
  ["RESOURCE", 5],
  ["NUMERIC", 6],
  ["ENVIRONMENT", 7],
] as [UserErrorCode, number][])(
  "a UserError %s exits with %i, a documented code, without a stack",
  (code, exitCode) => {
    expect(faultOf(new UserError("m", { code, hint: "h" }))).toEqual({
      exitCode,
      code,
      message: "m",
      hint: "h",
    });
    expect(EXIT_CODES.map(([documented]) => documented)).toContain(exitCode);
  },
);

test("a full disk and a full memory are resources, wherever they are met", () => {
  const full = Object.assign(new Error("ENOSPC: no space left on device"), {
    code: "ENOSPC",
    syscall: "write",
    path: "/a/b",
  });
  expect(faultOf(full)).toMatchObject({ exitCode: 5, message: expect.stringContaining("/a/b") });
  expect(
    faultOf(new Error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")),
  ).toMatchObject({
    exitCode: 5,
    code: "RESOURCE",
  });
});

test("a path that cannot be read is told of, whoever met it", () => {
  const met = (act: () => unknown): ReturnType<typeof faultOf> => {
    try {
      act();
    } catch (error) {
      return faultOf(error);
    }
    throw new Error("nothing was thrown");
  };
  expect(met(() => statSync("x".repeat(5000)))).toMatchObject({
    exitCode: 4,
    message: `${"x".repeat(200)}… cannot be read: the name is too long.`,
  });
  expect(met(() => readdirSync("/dev/null"))).toMatchObject({
    exitCode: 4,
    message: "/dev/null cannot be read: it or a part of its path is no folder.",
  });
  expect(met(() => readFileSync("a\0b"))).toMatchObject({
    exitCode: 4,
    message: expect.stringContaining("zero byte"),
  });
  expect(met(() => statSync("not here"))).toMatchObject({ code: "BUG" });
});

test("anything else is a bug and keeps its stack", () => {
  expect(faultOf(new TypeError("x is undefined"))).toMatchObject({
    exitCode: 1,
    code: "BUG",
    stack: expect.stringContaining("at "),
  });
  expect(faultOf("a word")).toMatchObject({ exitCode: 1, message: "a word" });
});
