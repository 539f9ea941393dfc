// @ts-check
import { expect, test } from "vitest";
import { root } from "../setup/root.mjs";
import { commentLengthFaults, longComments } from "./comment-length.mjs";

const words = "word ".repeat(28).trim(); // 139 characters

test.each([`// ${words}`, `/** ${words} */`, ` * ${words}`, `call(); // ${words}`])(
  "a comment of more than 140 characters is found: %s",
  (line) => {
    expect(longComments(`let x;\n${line}\n`)).toEqual([{ line: 2, length: line.length }]);
  },
);

test("a comment of 140 characters, code and text of any length are let through", () => {
  const most = `// ${words.slice(2)}`;
  expect(most).toHaveLength(140);
  expect(longComments(`${most}\nconst url = "https://example.com/${"a".repeat(140)}";\n`)).toEqual([]);
});

test("characters are counted, not bytes", () => {
  expect(longComments(`// ${"ᾱ".repeat(137)}`)).toEqual([]);
  expect(longComments(`// ${"ᾱ".repeat(138)}`)).toHaveLength(1);
});

test("no comment of this repository is too long", () => {
  expect(commentLengthFaults(root)).toEqual([]);
});
