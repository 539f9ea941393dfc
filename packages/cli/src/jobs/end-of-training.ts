// The last lines of a training: its outcome, where the result is, how to view it, and the next command.
import { isAbsolute, relative } from "node:path";
import type { RecipeEvent } from "spo/recipes";

/** A run that has ended. */
export interface EndedTraining {
  kind: string;
  config: object;
  /** Of the run. */
  folder: string;
  events: readonly RecipeEvent[];
}

/** A result's entries as they are. */
export const resultWords = (result: Readonly<Record<string, unknown>> = {}): string =>
  Object.entries(result)
    .map(([name, value]) => `${name} ${typeof value === "number" ? Number(value.toPrecision(4)) : value}`)
    .join(", ");

/** The lines of a training's end. */
export function endWords({ kind, config, folder, events }: EndedTraining): string[] {
  const done = events.findLast((event) => event.type === "done");
  const result = done?.type === "done" ? done.result : {};
  if (!kind.startsWith("train ")) return [`finished: ${resultWords(result)}`];
  const settings = config as Record<string, unknown>;
  const output = String(result.output ?? settings.output);
  return [
    `finished: ${outcome(kind, events)}`,
    ...(result.stopped === undefined
      ? [`The result is in ${shown(output)}.`]
      : [`Stopped by the guard. The result, of step ${result.best}, is in ${shown(output)}.`]),
    `Look at it:  npx spo report ${quoted(shown(folder))}`,
    `Go on with:  ${nextCommand(kind, settings, output)}`,
  ];
}

/** The measurements before and after, in words. */
function outcome(kind: string, events: readonly RecipeEvent[]): string {
  const evals = events.flatMap((event) => (event.type === "eval" ? [event.metrics] : []));
  const [first, last] = [evals[0], evals.at(-1)];
  const change = (name: string, words: string, show = percent): string[] => {
    const [before, after] = [first?.[name], last?.[name]];
    if (typeof after !== "number") return [];
    return [
      `${words} ${show(after)}${typeof before === "number" && evals.length > 1 ? ` (before: ${show(before)})` : ""}`,
    ];
  };
  const steps = events.flatMap((event) => (event.type === "step" ? [event.metrics] : []));
  const late = steps.slice(-20).flatMap(({ accuracy }) => (typeof accuracy === "number" ? [accuracy] : []));
  const recent = late.length > 0 ? late.reduce((sum, value) => sum + value, 0) / late.length : undefined;
  const found =
    kind === "train spm"
      ? Object.keys(last ?? {}).flatMap((name) =>
          change(
            name,
            name === "accuracy/t=0" ? "right on clean held-out pairs:" : `at t = ${name.slice(11)}:`,
          ),
        )
      : kind === "train spo"
        ? [
            ...change("score", "the judge's score of held-out samples:", short),
            ...change("drift", "drift from the base:", short),
            ...(recent === undefined
              ? []
              : [`winner likelier than loser in the last updates: ${percent(recent)}`]),
          ]
        : [
            ...change("accuracy", "held-out pairs ordered right:"),
            ...change("loss", "held-out loss:", short),
            ...(last || recent === undefined
              ? []
              : [`pairs ordered right in the last updates: ${percent(recent)}`]),
          ];
  return found.length > 0 ? found.join("; ") : `${steps.length} updates`;
}

/** The next command, which uses the result. */
function nextCommand(kind: string, settings: Readonly<Record<string, unknown>>, output: string): string {
  const model = quoted(shown(String(settings.model)));
  const result = shown(output);
  if (kind === "train spm")
    return `npx spo train spo --model ${model} --spm ${quoted(result)} --prompts prompts.txt --run runs/spo`;
  const sample = 'npx spo sample "a lighthouse at dawn"';
  return settings.adapter === "full"
    ? `${sample} --model ${quoted(result)}`
    : `${sample} --model ${model} --lora ${quoted(`${result}/pytorch_lora_weights.safetensors`)}`;
}

const percent = (value: number): string => `${(100 * value).toFixed(0)} %`;
const short = (value: number): string => String(Number(value.toPrecision(3)));

/** A path from where the command was called, where that is shorter. */
function shown(path: string): string {
  if (!isAbsolute(path)) return path;
  const near = relative(process.cwd(), path);
  return near !== "" && near.length < path.length && !near.startsWith("..") ? near : path;
}

/** A word as a shell takes it. */
const quoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
