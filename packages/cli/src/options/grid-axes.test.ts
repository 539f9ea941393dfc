import { expect, test } from "vitest";
import { gridAxes, gridCells, labelsOf, parseAxis } from "./grid-axes.js";

test("a grid has a place for each pair of values, and its LoRAs change as seldom as can be", () => {
  const axes = gridAxes({ gridX: parseAxis("guidance=3,5"), gridY: parseAxis("lora=0, 0.5") }, ["a cat"]);
  expect(gridCells(axes)).toEqual([
    { at: [0, 0], prompt: 0, options: { guidanceScale: 3 }, strength: 0, checkpoint: undefined },
    { at: [1, 0], prompt: 0, options: { guidanceScale: 5 }, strength: 0, checkpoint: undefined },
    { at: [0, 1], prompt: 0, options: { guidanceScale: 3 }, strength: 0.5, checkpoint: undefined },
    { at: [1, 1], prompt: 0, options: { guidanceScale: 5 }, strength: 0.5, checkpoint: undefined },
  ]);
});

test("prompts, seeds, samplers and checkpoints are sides too", () => {
  const axes = gridAxes(
    {
      gridX: parseAxis("prompt"),
      gridY: parseAxis("seed=7"),
      gridZ: parseAxis("checkpoint=b.safetensors,a.safetensors"),
    },
    ["a cat", "a dog, red"],
  );
  expect(axes[0]?.values).toEqual(["a cat", "a dog, red"]);
  expect(
    gridCells(axes).map(({ at, prompt, options, checkpoint }) => [at, prompt, options.seed, checkpoint]),
  ).toEqual([
    [[0, 0, 1], 0, 7, "a.safetensors"],
    [[1, 0, 1], 1, 7, "a.safetensors"],
    [[0, 0, 0], 0, 7, "b.safetensors"],
    [[1, 0, 0], 1, 7, "b.safetensors"],
  ]);
  expect(
    gridCells([parseAxis("sampler=ddim,DPM++ 2M Karras")]).map(({ options }) => options.sampler),
  ).toEqual(["ddim", "DPM++ 2M Karras"]);
});

test.each([
  { given: "runs/a/model,runs/b/model", named: ["a", "b"] },
  { given: "sd15,/x/one/spo/model,/x/two/spo/model", named: ["sd15", "one/spo/model", "two/spo/model"] },
  { given: "a.safetensors,b.safetensors", named: ["a.safetensors", "b.safetensors"] },
  { given: "model,runs/model", named: ["model", "runs/model"] },
  { given: "runs/a/model", named: ["model"] },
  { given: "runs/a,runs/a", named: ["runs/a", "runs/a"] },
])("checkpoints $given are named by what differs", ({ given, named }) => {
  expect(labelsOf(parseAxis(`checkpoint=${given}`))).toEqual(named);
});

test.each([
  "guidance",
  "guidance=x",
  "guidance=1,,2",
  "colour=red",
  "steps=0",
  "steps=1.5",
  "seed=-1",
  "sampler=none",
  "prompt=a",
  "=1",
  "",
])("%j is no side of a grid", (text) =>
  expect(() => parseAxis(text)).toThrow(expect.objectContaining({ code: "USAGE" })),
);

test("sides are named in turn, each changes something else, and several prompts are a side", () => {
  const [guidance, lora] = [parseAxis("guidance=1"), parseAxis("lora=1")];
  for (const [options, prompts, told] of [
    [{ gridY: guidance }, ["a"], /begins with --grid-x/],
    [{ gridX: guidance, gridZ: lora }, ["a"], /needs --grid-y/],
    [{ gridX: guidance, gridY: parseAxis("guidance=2") }, ["a"], /Two sides of the grid are guidance/],
    [{ gridX: guidance }, ["a", "b"], /2 prompts, and no side/],
  ] as const)
    expect(() => gridAxes(options, prompts)).toThrow(told);
  expect(gridAxes({}, ["a", "b"])).toEqual([]);
});
