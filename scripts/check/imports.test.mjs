// @ts-check
import { expect, test } from "vitest";
import { importsOf } from "./imports.mjs";

test("imports are found in every form, and not in comments", () => {
  const code = `
import "a";
import b, { c } from "b";
import * as d from "d"; // import "no1";
import {
  e,
  type F,
} from "e";
import type { G } from "g";
export * from "h";
export { i } from "i";
/* import "no2"; */
const j = await import("j");
`;
  expect(importsOf(code).map(({ specifier }) => specifier)).toEqual(["a", "b", "d", "e", "g", "h", "i", "j"]);
  expect(importsOf(code).filter(({ erased }) => erased)).toEqual([
    { specifier: "g", erased: true, dynamic: false },
  ]);
});
