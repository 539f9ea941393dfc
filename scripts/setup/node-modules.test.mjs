// @ts-check
import { expect, test } from "vitest";
import { matches } from "./node-modules.mjs";

const x = { version: "1.0.0", integrity: "sha512-x" };

test("node modules fit the lock file when every package is there in its version and with its hash", () => {
  expect(matches({ "": {}, "node_modules/x": x }, { "node_modules/x": { ...x } })).toBe(true);
  expect(matches({ "node_modules/x": x }, {})).toBe(false);
  expect(matches({ "node_modules/x": x }, { "node_modules/x": { ...x, version: "1.0.1" } })).toBe(false);
  expect(matches({ "node_modules/x": x }, { "node_modules/x": { ...x, integrity: "sha512-y" } })).toBe(false);
});

test("a package for another platform may be missing, but not be another version", () => {
  const wanted = { "node_modules/x": { ...x, optional: true } };
  expect(matches(wanted, {})).toBe(true);
  expect(matches(wanted, { "node_modules/x": { ...x, version: "2.0.0" } })).toBe(false);
});

test("workspaces count as the checkout's own, and packages inside packages count", () => {
  expect(matches({ "packages/torch": { version: "0.1.0" } }, {})).toBe(true);
  expect(matches({ "node_modules/a/node_modules/b": x }, {})).toBe(false);
});
