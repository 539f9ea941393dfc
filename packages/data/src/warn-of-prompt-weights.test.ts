import { onWarning } from "@spo/torch/warnings";
import { expect, test } from "vitest";
import { warnOfPromptWeights } from "./warn-of-prompt-weights.js";

test("weights in prompts are warned of once, with their number and the first; brackets of plain words are not", () => {
  const heard: string[] = [];
  const stop = onWarning((message) => heard.push(message));
  warnOfPromptWeights("a.txt", ["a cat (asleep)", "at 12:30"]);
  warnOfPromptWeights("b.txt", ["a cat", "a (cute:1.3) cat", "<lora:x:1> dog"]);
  stop();
  expect(heard).toEqual([expect.stringMatching(/^b\.txt: 2 prompts have .*"a \(cute:1\.3\) cat"/)]);
});
