import { expect, test } from "vitest";
import { refusal } from "../refusal.fixture.js";
import { takeLoraTags } from "./lora-tags.js";

test.each([
  ["a cat <lora:foo:0.8>", "a cat", [["foo", 0.8, 0.8]]],
  ["<lora:foo>a cat", "a cat", [["foo", 1, 1]]],
  ["<lora:foo:0.8:0.5>", "", [["foo", 0.5, 0.8]]],
  ["<lora:foo:te=0.2:unet=0.7>", "", [["foo", 0.7, 0.2]]],
  [
    "<lora:sub/foo:-1> b <lyco:bar:.5>",
    "b",
    [
      ["sub/foo", -1, -1],
      ["bar", 0.5, 0.5],
    ],
  ],
  [" a <b> cat ", " a <b> cat ", []],
] as const)("%s", (prompt, words, loras) => {
  const taken = takeLoraTags(prompt);
  expect(taken.prompt).toBe(words);
  expect(taken.loras.map(({ name, weight, textWeight }) => [name, weight, textWeight])).toEqual(loras);
});

test.each([
  ["<lora:foo:heavy>", /"heavy" is no strength/],
  ["<lora:foo:>", /"" is no strength/],
  ["<lora::1>", /has no name/],
])("%s is refused", (prompt, message) => {
  expect(refusal(() => takeLoraTags(prompt))).toMatch(message);
});
