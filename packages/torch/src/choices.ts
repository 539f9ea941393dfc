// libtorch's enumerations that are plain integers in its schemas, by their names in Python.
import { kindOf } from "./arguments.js";

/** How a loss combines the values of its elements; the numbers are libtorch's own. */
export type Reduction = "none" | "mean" | "sum" | 0 | 1 | 2;

/** How a grid sampler reads between pixels; the numbers are libtorch's own. */
export type GridInterpolation = "bilinear" | "nearest" | "bicubic" | 0 | 1 | 2;

/** What a grid sampler reads outside of the image; the numbers are libtorch's own. */
export type GridPadding = "zeros" | "border" | "reflection" | 0 | 1 | 2;

const coded =
  <Word extends string>(argument: string, words: readonly Word[]) =>
  (value: Word | 0 | 1 | 2 | undefined): number | undefined => {
    if (value === undefined) return undefined;
    const code = typeof value === "number" ? value : words.indexOf(value);
    if (words[code] !== undefined) return code;
    const shown =
      typeof value === "string" || typeof value === "number" ? JSON.stringify(value) : kindOf(value);
    throw new TypeError(`argument '${argument}' must be one of ${words.join(", ")}, not ${shown}`);
  };

export const reductionCode = coded("reduction", ["none", "mean", "sum"]);
export const gridInterpolationCode = coded("interpolationMode", ["bilinear", "nearest", "bicubic"]);
export const gridPaddingCode = coded("paddingMode", ["zeros", "border", "reflection"]);
