// `--grid-x guidance=3,5,7`: what changes along the sides of a grid.
import { UserError } from "@spo/torch/files";
import { type Command, Option } from "commander";
import { chosenSampler } from "./sampler-options.js";

/** What can change, and what its values are. */
export const AXES = {
  guidance: "numbers",
  lora: "strengths, by which those of --lora are multiplied",
  checkpoint: "LoRAs, laid over the model in turn, or models in place of it: folders or files",
  steps: "whole numbers",
  eta: "from 0 to 1",
  seed: "whole numbers",
  sampler: "names",
  prompt: "no values: the prompts that are given",
} as const;
type AxisName = keyof typeof AXES;

/** One side of a grid. */
export interface GridAxis {
  name: AxisName;
  values: readonly string[];
}

/** The options as given. */
export interface GridOptions {
  gridX?: GridAxis;
  gridY?: GridAxis;
  gridZ?: GridAxis;
}

/** One place of a grid: along each axis the number of its value, and what is drawn there. */
export interface GridCell {
  at: number[];
  /** Which of the prompts. */
  prompt: number;
  /** Options in place of those of the command. */
  options: { guidanceScale?: number; steps?: number; eta?: number; seed?: number; sampler?: string };
  /** What strengths of LoRAs are multiplied by. */
  strength: number;
  checkpoint?: string;
}

export const gridOptions = (command: Command): Command =>
  ["x", "y", "z"].reduce(
    (before, side) =>
      before.addOption(
        new Option(
          `--grid-${side} <axis=values>`,
          side === "x"
            ? `${Object.keys(AXES).join(", ")}; writes grid.html, grid.json and a picture too`
            : "a second, a third side",
        ).argParser(parseAxis),
      ),
    command,
  );

/** Throws a UserError (`USAGE`) for an axis that there is not, or values that are none of its. */
export function parseAxis(text: string): GridAxis {
  const [name = "", list = ""] = text.split(/=(.*)/s);
  const fault = (why: string): UserError =>
    new UserError(`${text}: ${why}.`, {
      code: "USAGE",
      hint: `Axes: ${Object.entries(AXES)
        .map(([axis, about]) => `${axis} (${about})`)
        .join("; ")}.`,
    });
  if (!Object.hasOwn(AXES, name)) throw fault(`${name || "nothing"} is no axis of a grid`);
  const axis = name as AxisName;
  const values = list === "" ? [] : list.split(",").map((value) => value.trim());
  if (axis === "prompt" ? values.length > 0 : values.length === 0) throw fault(AXES[axis]);
  for (const value of values) {
    const number = Number(value);
    const isWhole = value !== "" && Number.isSafeInteger(number) && number >= (axis === "steps" ? 1 : 0);
    if ((axis === "steps" || axis === "seed") && !isWhole) throw fault(`${value} is no whole number`);
    if (["guidance", "lora", "eta"].includes(axis) && (value === "" || !Number.isFinite(number)))
      throw fault(`${value} is no number`);
    if (axis === "sampler") chosenSampler({ sampler: value });
  }
  return { name: axis, values };
}

/** The sides that were given, x first, with the prompts as their values where they are a side. Throws a UserError (`USAGE`). */
export function gridAxes({ gridX, gridY, gridZ }: GridOptions, prompts: readonly string[]): GridAxis[] {
  const axes = [gridX, gridY, gridZ].flatMap((axis) => axis ?? []);
  if (axes.length === 0) return [];
  const fault = (message: string, hint: string): UserError => new UserError(message, { code: "USAGE", hint });
  if (!gridX || (gridZ && !gridY))
    throw fault("A grid begins with --grid-x; --grid-z needs --grid-y.", "Name the sides x, y, z in turn.");
  const names = axes.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice) throw fault(`Two sides of the grid are ${twice}.`, "Each side changes something else.");
  if (prompts.length > 1 && !names.includes("prompt"))
    throw fault(
      `There are ${prompts.length} prompts, and no side of the grid is the prompts.`,
      "Give one prompt, or --grid-y prompt.",
    );
  return axes.map((axis) => (axis.name === "prompt" ? { ...axis, values: prompts } : axis));
}

/** How the values of a side are named in a grid: checkpoints by what differs in their paths. */
export const labelsOf = ({ name, values }: GridAxis): string[] =>
  name === "checkpoint" ? shortPaths(values) : [...values];

/** Paths without the end that all share, and of what is left the shortest end that no other has. */
function shortPaths(paths: readonly string[]): string[] {
  const all = paths.map((path) => path.split(/[\\/]+/).filter(Boolean));
  const isShared = (): boolean => all.every((parts) => parts.length > 1 && parts.at(-1) === all[0]?.at(-1));
  while (new Set(paths).size > 1 && isShared()) for (const parts of all) parts.pop();
  const end = (parts: readonly string[], length: number): string => parts.slice(-length).join("/");
  return all.map((parts, i) => {
    const own = parts.findIndex((_, n) =>
      all.every((other, j) => j === i || end(other, n + 1) !== end(parts, n + 1)),
    );
    return own < 0 ? (paths[i] as string) : end(parts, own + 1);
  });
}

/** All places of a grid, those that share their LoRAs beside each other. */
export function gridCells(axes: readonly GridAxis[]): GridCell[] {
  const places = axes.reduce<number[][]>(
    (before, { values }) => before.flatMap((at) => values.map((_, i) => [...at, i])),
    [[]],
  );
  return places
    .map((at) => {
      const value = (name: AxisName): string | undefined => {
        const side = axes.findIndex((axis) => axis.name === name);
        return axes[side]?.values[at[side] as number];
      };
      const number = (name: AxisName): number | undefined => {
        const found = value(name);
        return found === undefined ? undefined : Number(found);
      };
      const options = {
        guidanceScale: number("guidance"),
        steps: number("steps"),
        eta: number("eta"),
        seed: number("seed"),
        sampler: value("sampler"),
      };
      const given = Object.fromEntries(Object.entries(options).filter(([, of]) => of !== undefined));
      const side = axes.findIndex(({ name }) => name === "prompt");
      return {
        at,
        prompt: side < 0 ? 0 : (at[side] as number),
        options: given as GridCell["options"],
        strength: number("lora") ?? 1,
        checkpoint: value("checkpoint"),
      };
    })
    .sort((a, b) => compare(a.checkpoint ?? "", b.checkpoint ?? "") || a.strength - b.strength);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
