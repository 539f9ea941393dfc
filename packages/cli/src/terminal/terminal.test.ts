import { expect, test } from "vitest";
import { hasColour, painter, shown } from "./terminal.js";

test.each([
  [true, {}, true],
  [false, {}, false],
  [true, { NO_COLOR: "1" }, false],
  [true, { NO_COLOR: "" }, true], // the convention: only when it is not empty
  [false, { FORCE_COLOR: "1" }, true],
  [true, { FORCE_COLOR: "0" }, false],
  [true, { TERM: "dumb" }, false],
  [true, { CI: "true" }, false],
])("a terminal (%s) under %j has colour: %s", (isTTY, env, expected) => {
  expect(hasColour({ isTTY }, env)).toBe(expected);
  expect(shown(painter({ isTTY }, env)("red", "x"))).toBe(expected ? "\x1b[31mx\x1b[0m" : "x");
});

test("a colour of ours is one, another's is shown", () => {
  const paint = painter({ isTTY: true }, {});
  expect(shown(`${paint("red", "bad \x1b[32mgood")}: \x1b[2J`)).toBe(
    "\x1b[31mbad \\x1b[32mgood\x1b[0m: \\x1b[2J",
  );
});
