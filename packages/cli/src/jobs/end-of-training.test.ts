import type { RecipeEvent } from "spo/recipes";
import { expect, test } from "vitest";
import { endWords } from "./end-of-training.js";

const time = { at: "", wall: 0, cpu: 0 };
const measured = (step: number, metrics: Record<string, number | null>): RecipeEvent => ({
  type: "eval",
  step,
  metrics,
  time,
});
const updated = (accuracy: number): RecipeEvent => ({
  type: "step",
  step: 1,
  total: 1,
  metrics: { accuracy },
  time,
});
const done = (output: string): RecipeEvent => ({ type: "done", result: { output }, time });

test("a preference model's training ends with its accuracies, its report and the command that trains with it", () => {
  const words = endWords({
    kind: "train spm",
    config: { model: "my models/sd15" },
    folder: "runs/spm",
    events: [
      measured(0, { "accuracy/t=0": 0.5, "accuracy/t=501": 0.52 }),
      measured(9, { "accuracy/t=0": 0.71, "accuracy/t=501": null }),
      done("runs/spm/model"),
    ],
  });
  expect(words).toEqual([
    "finished: right on clean held-out pairs: 71 % (before: 50 %)",
    "The result is in runs/spm/model.",
    "Look at it:  npx spo report runs/spm",
    "Go on with:  npx spo train spo --model 'my models/sd15' --spm runs/spm/model --prompts prompts.txt --run runs/spo",
  ]);
});

test("a policy's ends with a command that samples from it", () => {
  const events = [
    measured(0, { score: 1, drift: 0 }),
    updated(0.5),
    updated(0.7),
    measured(9, { score: 1.5, drift: 0.0123 }),
    done("r/model"),
  ];
  const of = (kind: "train spo" | "train dpo", adapter: string): string[] =>
    endWords({ kind, config: { model: "./sd15", adapter }, folder: "r", events });
  expect(of("train spo", "lora")).toEqual([
    "finished: the judge's score of held-out samples: 1.5 (before: 1); drift from the base: 0.0123 (before: 0); winner likelier than loser in the last updates: 60 %",
    "The result is in r/model.",
    "Look at it:  npx spo report r",
    'Go on with:  npx spo sample "a lighthouse at dawn" --model ./sd15 --lora r/model/pytorch_lora_weights.safetensors',
  ]);
  expect(of("train dpo", "full").at(-1)).toBe(
    'Go on with:  npx spo sample "a lighthouse at dawn" --model r/model',
  );
});

test("a training that measured nothing says how many updates it made, and other recipes what they made", () => {
  const words = endWords({
    kind: "train spm",
    config: { model: "m" },
    folder: "r",
    events: [{ ...updated(1), metrics: {} } as RecipeEvent, done("o")],
  });
  expect(words[0]).toBe("finished: 1 updates");
  const pretrained: RecipeEvent = { type: "done", result: { output: "o", psnr: 31.23456 }, time };
  expect(endWords({ kind: "pretrain vae", config: {}, folder: "r", events: [pretrained] })).toEqual([
    "finished: output o, psnr 31.23",
  ]);
});
