// Tensors as text: shape, dtype, device and values, of large tensors the values in part.
import { native } from "@spo/native";
import { anyDtypeName } from "./dtype.js";
import { wrap } from "./handle.js";
import { noGrad } from "./modes.js";
import { scope } from "./scope.js";
import type { Tensor } from "./tensor.js";

/** Tensors of more elements are shown by the first and last entries of each dimension. Source: PyTorch's `set_printoptions`. */
const MOST_SHOWN = 1000;
/** So many at each end. */
const AT_THE_ENDS = 3;
/** Significant digits of numbers that are not whole. */
const DIGITS = 5;

/** Elements by their places: numbers, or lists of what stands along the next dimension. */
export type NestedValues = number | bigint | boolean | string | readonly NestedValues[];

/**
 * `Tensor [2] float32 cpu [1, 2]`: a tensor for people to read, its values in part where there are more than a thousand.
 *
 * A tensor that was disposed of or is on the device meta has no values to show.
 */
export function tensorText(tensor: Tensor): string {
  if (tensor.isDisposed) return "Tensor (disposed)";
  const { shape, device } = tensor;
  const learns = tensor.requiresGrad ? " requiresGrad" : "";
  const head = `Tensor [${shape.join(", ")}] ${anyDtypeName(native.dtype(tensor.handle))} ${device}${learns}`;
  if (device === "meta") return head;
  const shown = shownPart(tensor, shape);
  const texts = shown.values.map(inWords);
  const width = Math.max(0, ...texts.map((text) => text.length));
  const text = inBrackets(shape, shown.shape, shape.length > 1 ? texts.map((t) => t.padStart(width)) : texts);
  return text.includes("\n") ? `${head}\n${text}` : `${head} ${text}`;
}

/** All values, in lists as the shape has them. Complex numbers are text, as in `1+2i`. */
export function nestedValues(tensor: Tensor): NestedValues {
  const { shape } = tensor;
  const flat = elements(tensor);
  const at = (from: number, length: number, depth: number): NestedValues => {
    if (depth === shape.length) return flat[from] as NestedValues;
    const size = shape[depth] as number;
    return Array.from({ length: size }, (_, i) => at(from + (i * length) / size, length / size, depth + 1));
  };
  return at(0, flat.length, 0);
}

/** What is shown of a tensor, in row-major order: all, or of each long dimension its two ends. */
function shownPart(tensor: Tensor, shape: readonly number[]): { shape: number[]; values: NestedValues[] } {
  const whole = shape.reduce((a, b) => a * b, 1) <= MOST_SHOWN;
  if (whole) return { shape: [...shape], values: elements(tensor) };
  return noGrad(() =>
    scope(() => {
      let part: Tensor = tensor.detach();
      for (const [dim, size] of shape.entries()) {
        if (size <= 2 * AT_THE_ENDS) continue;
        // By the two ends alone, before anything is moved from its device.
        const ends = [part.narrow(dim, 0, AT_THE_ENDS), part.narrow(dim, size - AT_THE_ENDS, AT_THE_ENDS)];
        part = wrap(
          native.call(
            native.op("aten::cat", ""),
            ends.map(({ handle }) => handle),
            dim,
          ),
        );
      }
      return { shape: [...part.shape], values: elements(part) };
    }),
  );
}

/** The elements of a tensor in row-major order. */
function elements(tensor: Tensor): NestedValues[] {
  const name = anyDtypeName(native.dtype(tensor.handle));
  if (name.startsWith("complex")) return complexElements(tensor);
  const array = Array.from(tensor.toTypedArray() as ArrayLike<number | bigint>);
  return name === "bool" ? array.map(Boolean) : array;
}

function complexElements(tensor: Tensor): NestedValues[] {
  return noGrad(() =>
    scope(() => {
      // By way of real numbers, which every dtype and device can become; a conjugate is made one first.
      const resolved = native.call(native.op("aten::resolve_conj", ""), tensor.handle) as number;
      const parts = wrap(native.call(native.op("aten::view_as_real", ""), wrap(resolved).handle)).toNumbers();
      return Array.from({ length: parts.length / 2 }, (_, i) => {
        const [real, imaginary] = [parts[2 * i] as number, parts[2 * i + 1] as number];
        return `${inWords(real)}${imaginary < 0 || Object.is(imaginary, -0) ? "-" : "+"}${inWords(Math.abs(imaginary))}i`;
      });
    }),
  );
}

function inWords(value: NestedValues): string {
  if (typeof value !== "number" || Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  return String(Number(value.toPrecision(DIGITS)));
}

/** Lists within lists, the outer ones over several lines; `…` where entries are left out. */
function inBrackets(whole: readonly number[], shown: readonly number[], texts: readonly string[]): string {
  const at = (from: number, length: number, depth: number): string => {
    if (depth === shown.length) return texts[from] as string;
    const size = shown[depth] as number;
    const entries = Array.from({ length: size }, (_, i) =>
      at(from + (i * length) / size, length / size, depth + 1),
    );
    if (size < (whole[depth] as number)) entries.splice(AT_THE_ENDS, 0, "…");
    const lines = "\n".repeat(Math.max(0, shown.length - 1 - depth));
    return `[${entries.join(lines === "" ? ", " : `,${lines}${" ".repeat(depth + 1)}`)}]`;
  };
  return at(0, texts.length, 0);
}
