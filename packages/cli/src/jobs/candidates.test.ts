import { SAMPLERS } from "@spo/diffusion";
import { REWARDS } from "@spo/scorers/reward-spec";
import { describe, expect, test } from "vitest";
import { buildProgram } from "../program.js";
import { candidatesFor } from "./candidates.js";

/** What may stand in place of the last word of a line. */
async function behind(line: string): Promise<{ words: string[]; files?: string }> {
  const words = line.split(" ").slice(1);
  const { words: found, files } = candidatesFor(await buildProgram(words), words);
  for (const { word } of found) expect(word.startsWith(words.at(-1) ?? "")).toBe(true);
  return { words: found.map(({ word }) => word), ...(files && { files }) };
}

describe("what may stand next", () => {
  test("is a command, with what it is about", async () => {
    const { words } = candidatesFor(await buildProgram(["sam"]), ["sam"]);
    expect(words).toEqual([{ word: "sample", about: "make images from prompts" }]);
    expect((await behind("spo train ")).words).toEqual(["spm", "spo", "dpo", "votes"]);
    expect((await behind("spo --json data ch")).words).toEqual(["check"]);
    expect((await behind("spo ")).words).not.toContain("words");
  });

  test.each([
    ["spo sample --guid", ["--guidance-scale"]],
    ["spo train spo --save", ["--save-every"]],
    ["spo train spo --optimizer.w", ["--optimizer.weight-decay"]],
    ["spo plan spo --micro", ["--micro-batch"]],
    ["spo compare --sampling.g", ["--sampling.guidance-scale"]],
    ["spo train spm --qui", ["--quiet"]],
    ["spo train dpo --no-m", ["--no-mirror"]],
    ["spo sample -- --guid", []],
    ["spo sample --negative --guid", []], // its value
  ])("%j is an option: %j", async (line, words) => {
    expect((await behind(line)).words).toEqual(words);
  });

  test.each([
    ["spo sample --dtype ", ["float32", "bfloat16", "float16"]],
    ["spo sample --dtype=b", ["--dtype=bfloat16"]],
    ["spo train spo --memoryFormat ", ["contiguous", "channels_last"]],
    ["spo train spo --lora_layout k", ["kohya"]],
    ["spo train spo --device c", ["cpu", "cuda"]],
    ["spo label x --to v", ["votes"]],
    ["spo pretrain judge --half ", ["0", "1"]],
    ["spo train dpo --mirror=", ["--mirror=yes", "--mirror=no"]],
    ["spo completion ", ["bash", "zsh", "fish"]],
    ["spo sample --seed ", []],
    ["spo sample ", []], // a prompt
    ["spo --nonsense ", expect.arrayContaining(["train"])],
  ])("%j is a value: %j", async (line, words) => {
    expect(await behind(line)).toEqual({ words });
  });

  test("is any sampler that there is", async () => {
    expect((await behind("spo sample --sampler ")).words).toEqual(
      expect.arrayContaining(Object.keys(SAMPLERS)),
    );
  });

  test.each([
    ["spo train spo --model ", "files"],
    ["spo train spo --pairs ", "files"],
    ["spo train spo sd15 ", "files"],
    ["spo eval ", "files"],
    ["spo eval a b ", "files"],
    ["spo convert ", "files"],
    ["spo convert a ", undefined],
    ["spo convert a --lora ", "files"],
    ["spo sample -o ", "folders"],
    ["spo report ", "folders"],
    ["spo train spo --run=r", "folders"],
  ])("%j is among the %s of the machine", async (line, files) => {
    expect((await behind(line)).files).toBe(files);
  });

  test("is a preset or a file where a training takes either, a scorer or a module where images are scored", async () => {
    expect(await behind("spo train spo s")).toEqual({
      words: [
        "sd15",
        "sdxl",
        "sd35-medium",
        "sd15-8gb",
        "sd15-12gb",
        "sdxl-16gb",
        "sdxl-24gb",
        "sd35-medium-12gb",
      ],
      files: "files",
    });
    const scorers = REWARDS.map((name) => `${name}:`);
    for (const line of ["spo eval x --metrics ", "spo label x --by ", "spo train spo --judge "])
      expect(await behind(line)).toEqual({ words: scorers, files: "files" });
  });
});
