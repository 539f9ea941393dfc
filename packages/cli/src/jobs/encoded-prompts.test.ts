import { expect, test } from "vitest";
import { parseAxis } from "../options/grid-axes.js";
import { requireEncodable } from "./encoded-prompts.js";
import type { PromptWords } from "./prompt-words.js";

const plain = { axes: [], syntax: "auto", hasLoras: false } as const;
const words = (text: string) => ({ words: text, loras: [] });
const called: PromptWords["loras"][number] = {
  file: "a.safetensors",
  weight: 1,
  textWeight: 1,
  inPrompt: true,
};

test("plain prompts can be encoded first, with LoRAs of --lora, and in grids of other settings", () => {
  requireEncodable([words("a red apple")], plain);
  requireEncodable([words("a red apple")], { ...plain, hasLoras: true });
  requireEncodable([words("a red apple")], { ...plain, axes: [parseAxis("guidance=3,5")] });
  requireEncodable([words("a (red:1.3) apple")], { ...plain, syntax: "plain" });
});

test.each<[RegExp, PromptWords[], Parameters<typeof requireEncodable>[1]]>([
  [/grid of checkpoint/, [words("an apple")], { ...plain, axes: [parseAxis("checkpoint=a,b")] }],
  [/grid of lora/, [words("an apple")], { ...plain, axes: [parseAxis("lora=0,1")], hasLoras: true }],
  [/grid lays the LoRAs/, [words("an apple")], { ...plain, axes: [parseAxis("seed=0,1")], hasLoras: true }],
  [/"an apple" calls for a LoRA/, [{ words: "an apple", loras: [called] }], plain],
  [/several contexts/, [words("a (red:1.3) apple")], plain],
])("refuses what needs the text encoders later: %s", (message, prompts, options) => {
  expect(() => requireEncodable(prompts, options)).toThrow(message);
});
