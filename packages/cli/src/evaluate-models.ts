// Models side by side on the same prompts and noise: what the judge and the preference model say, with intervals.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { LoraStack, StableDiffusion } from "@spo/diffusion";
import { UserError } from "@spo/torch/files";
import { loadSpm, SpmJudge } from "spo";
import {
  bootstrapMean,
  type Estimate,
  evaluateModel,
  type ImageFigures,
  judgeScore,
  loadArtworkJudge,
  readPrompts,
  winRate,
} from "spo/evaluation";
import { readRun } from "spo/records";
import { written, writtenInterval } from "spo/report";
import type { EvalCommandOptions } from "./commands/eval.js";
import { interruptible } from "./interruption.js";
import { ProgressBar } from "./progress-bar.js";
import { put, putJson } from "./terminal.js";

const MEASURES = {
  "preference model": { of: ({ spm }: ImageFigures) => spm, unit: "number" },
  judge: { of: judgeScore, unit: "number" },
  "on prompt": { of: ({ onPrompt }: ImageFigures) => Number(onPrompt), unit: "share" },
} as const;
type MeasureName = keyof typeof MEASURES;
const NAMES = Object.keys(MEASURES) as MeasureName[];

interface Evaluated {
  model: string;
  measures: Record<MeasureName, Estimate & { wins?: Estimate }>;
}

/** Prints a table, or one object with every image's figures. */
export async function evaluateModels(models: readonly string[], options: EvalCommandOptions): Promise<void> {
  const prompts = readPrompts(options.prompts);
  const choices = [...new Set([...prompts, ...options.choices.flatMap((file) => readPrompts(file))])];
  const judge = loadArtworkJudge(options.judge);
  const unknown = choices.filter((choice) => !judge.config.captions.includes(choice));
  if (unknown.length > 0)
    throw new UserError(`The judge does not know these prompts: ${unknown.join(", ")}.`, { code: "DATA" });
  const { spm, processor } = loadSpm(options.spm);
  const { seeds, perPrompt, steps, guidance: guidanceScale, eta } = options;
  const bar = new ProgressBar({ quiet: options.quiet });
  const signal = interruptible((text) => bar.say(text));
  const total = prompts.length * seeds.length * perPrompt;
  const images: ImageFigures[][] = [];
  for (const model of models) {
    const pipe = loadModelOrRun(model);
    const tools = {
      judge,
      spm: new SpmJudge(spm, processor, (texts) => pipe.tokenizer.encodeBatch(texts)),
      choices,
    };
    const measured: ImageFigures[] = [];
    for (const batch of evaluateModel(
      pipe,
      prompts,
      seeds,
      { perPrompt, steps, guidanceScale, eta },
      tools,
    )) {
      measured.push(...batch);
      bar.advance({ stage: model, done: measured.length, total });
      await setImmediate(); // signals have their turn
      signal.throwIfAborted();
    }
    images.push(measured);
  }
  bar.end();
  const evaluated = models.map((model, i) =>
    compared(model, images[i] as ImageFigures[], i > 0 ? images[0] : undefined),
  );
  if (options.json) {
    const figures = images.map((list) => list.map(({ rgb: _, features: __, ...rest }) => rest));
    putJson({ schema: "spo.eval/1", models: evaluated.map((each, i) => ({ ...each, images: figures[i] })) });
  } else print(evaluated, total);
}

/** A model folder, or what a run of `train spo` has made: a LoRA on its base, or a whole model. */
function loadModelOrRun(folder: string): StableDiffusion {
  if (existsSync(join(folder, "model_index.json")) || !existsSync(join(folder, "config.json")))
    return StableDiffusion.load(folder);
  const { kind, config, result } = readRun(folder);
  if (kind !== "train spo" || !result) {
    throw new UserError(
      `${folder} is ${kind === "train spo" ? "not finished" : `a run of ${kind}, which makes no model`}.`,
      {
        code: "DATA",
        hint: "Give a model folder, or a finished run of train spo.",
      },
    );
  }
  const output = String(result.output);
  const adapter = join(output, "pytorch_lora_weights.safetensors");
  if (!existsSync(adapter)) return StableDiffusion.load(output);
  const pipe = StableDiffusion.load(String(config.model));
  new LoraStack({ unet: pipe.unet }, [{ path: adapter }]).fuse();
  return pipe;
}

function compared(model: string, images: readonly ImageFigures[], base?: readonly ImageFigures[]): Evaluated {
  const groups = images.map(({ prompt }) => prompt);
  const measures = Object.fromEntries(
    NAMES.map((name) => {
      const { of } = MEASURES[name];
      const values = images.map(of);
      const wins = base && winRate(base.map(of), values, { groups });
      return [name, { ...bootstrapMean(values, { groups }), wins }];
    }),
  );
  return { model, measures: measures as Evaluated["measures"] };
}

function print(evaluated: readonly Evaluated[], count: number): void {
  for (const { model, measures } of evaluated) {
    put(model);
    for (const name of NAMES) {
      const { wins, ...value } = measures[name];
      const { unit } = MEASURES[name];
      const won =
        wins &&
        `, better than the first in ${written(wins.value, "share")} of ${count} pairs (${writtenInterval(wins, "share")})`;
      put(`  ${name.padEnd(18)}${written(value.value, unit)} (${writtenInterval(value, unit)})${won ?? ""}`);
    }
  }
}
