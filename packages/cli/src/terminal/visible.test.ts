import fc from "fast-check";
import { expect, test } from "vitest";
import { visible, visibleJson, visibleLine } from "./visible.js";

test.each([
  ["\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"],
  ["\x9b2J", "\\x9b2J"],
  ["back\b\b\bover", "back\\x08\\x08\\x08over"],
  ["a\rb", "a\\rb"],
  ["\u202egpj.exe\u202c", "\\u202egpj.exe\\u202c"],
  ["\u2066a\u2069\u200b\ufeff\u2028", "\\u2066a\\u2069\\u200b\\ufeff\\u2028"],
  ["a\n\tb", "a\n\tb"],
  ["Füße, 猫, 👩‍👩‍👧, می‌خواهم", "Füße, 猫, 👩‍👩‍👧, می‌خواهم"],
])("%j is shown as %j", (text, shown) => {
  expect(visible(text)).toBe(shown);
});

test("one line stays one", () => {
  expect(visibleLine("a cat\nspo: finished\r\n")).toBe("a cat\\nspo: finished\\r\\n");
});

test("JSON means the same, and holds nothing that a terminal acts on", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const json = visibleJson(JSON.stringify({ text }));
      expect(JSON.parse(json)).toEqual({ text });
      expect(visibleLine(json)).toBe(json);
    }),
  );
});
