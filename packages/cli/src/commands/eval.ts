import { type Command, InvalidArgumentError } from "commander";
import { loadEngine } from "../engine.js";
import { number, positive, wholeNumber } from "../option-values.js";
import type { CommonOptions } from "../program.js";

export interface EvalCommandOptions extends CommonOptions {
  spm: string;
  judge: string;
  prompts: string;
  choices: string[];
  seeds: number[];
  perPrompt: number;
  steps: number;
  guidance: number;
  eta: number;
}

export default function (command: Command): void {
  command
    .description(
      "Draws the same prompts from the same noise with several models, and measures each by the preference model and a judge.",
    )
    .argument("<models...>", "model folders, or runs of train spo; the others are compared with the first")
    .requiredOption("--spm <folder>", "preference model")
    .requiredOption("--judge <folder>", "judge of artwork, best one that took no part in the training")
    .requiredOption("--prompts <file>", "one a line")
    .option(
      "--choices <file>",
      "further prompts among which the judge has to find the right one",
      collect,
      [],
    )
    .option("--seeds <list>", "with commas between", seeds, [0, 1, 2])
    .option("--per-prompt <number>", "images of each prompt and seed", positive, 1)
    .option("--steps <number>", "sampling steps", positive, 20)
    .option("--guidance <number>", "classifier-free guidance scale", number, 3)
    .option("--eta <number>", "0: DDIM without noise, 1: as much as DDPM", number, 0)
    .addHelpText(
      "after",
      "\nExamples:\n  spo eval ./base runs/spo --spm runs/spm/model --judge ./judge --prompts held-out.txt\n  spo eval ./base ./other --spm ./spm --judge ./judge --prompts held-out.txt --seeds 0,1,2,3 --json",
    )
    .action(async (models: string[]) => {
      await loadEngine();
      const { evaluateModels } = await import("../evaluate-models.js");
      await evaluateModels(models, command.optsWithGlobals<EvalCommandOptions>());
    });
}

const collect = (text: string, before: string[]): string[] => [...before, text];

function seeds(text: string): number[] {
  const list = text.split(",").map(wholeNumber);
  if (new Set(list).size < list.length) throw new InvalidArgumentError("A seed stands in it twice.");
  return list;
}
