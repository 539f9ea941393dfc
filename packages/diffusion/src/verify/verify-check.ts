import { join } from "node:path";
import { loadingDevice, noGrad, openSafetensors, type SafetensorsFile, scope, type Tensor } from "@spo/torch";
import { parseJson } from "../config.js";

/** One comparison of a computed tensor with a golden one. */
export interface Case {
  case: string;
  /** Largest absolute difference, NaN where shapes differ; for exact cases the number of wrong entries. */
  maxError: number;
  tolerance: number;
}

/** A group of comparisons over golden files of the documented form. */
export interface Check {
  name: string;
  /** Files and folders of the set that it reads, relative to the set's folder. */
  files: readonly string[];
  /** Files and folders that it reads of the set that this one is based on, relative to that one's folder. */
  baseFiles?: readonly string[];
  /** A file or folder without which the check is left out where a set has no manifest: not every set has it. */
  optional?: string;
  /** dir: the set's folder; base: that of the set that it is based on. Throws when a file is damaged or of another form. */
  run(dir: string, base: string): Promise<Case[]> | Case[];
}

/** Collects cases. */
export class Cases {
  readonly list: Case[] = [];

  /** tolerance: absolute, or a function of the expected tensor's largest magnitude. */
  near(
    name: string,
    actual: Tensor,
    expected: Tensor,
    tolerance: number | ((scale: number) => number),
  ): void {
    const same = sameShape(actual, expected);
    const error = same ? distance(actual, expected) : Number.NaN;
    this.list.push({
      case: name,
      maxError: error,
      tolerance: typeof tolerance === "number" ? tolerance : tolerance(largest(expected)),
    });
  }

  /** Lists of numbers or booleans that must be equal. */
  exact(name: string, actual: readonly (number | boolean)[], expected: readonly (number | boolean)[]): void {
    const wrong = expected.filter((value, i) => Number(actual[i]) !== Number(value)).length;
    this.list.push({ case: name, maxError: wrong + Math.abs(actual.length - expected.length), tolerance: 0 });
  }

  /** All gradients of a file together; tolerance: of their largest magnitude. */
  gradients(
    name: string,
    wanted: Iterable<[name: string, actual: Tensor | undefined, expected: Tensor]>,
    tolerance: (scale: number) => number,
  ): void {
    let worst = 0;
    let scale = 0;
    let count = 0;
    for (const [, actual, expected] of wanted) {
      count++;
      scope(() => {
        scale = Math.max(scale, largest(expected));
        const same = actual !== undefined && sameShape(actual, expected);
        worst = Math.max(worst, same ? distance(actual, expected) : Number.POSITIVE_INFINITY);
      });
    }
    // A file without gradients must fail.
    this.list.push({ case: name, maxError: count > 0 ? worst : Number.NaN, tolerance: tolerance(scale) });
  }

  /** Fails unless every one of the names in a file was compared; names those that were not. */
  covered(name: string, wanted: readonly string[]): void {
    const missed = wanted.filter((key) => !this.list.some((found) => found.case === key));
    this.list.push({
      case: `${name} seen${missed.length > 0 ? ` (not ${missed.join(", ")})` : ""}`,
      maxError: missed.length,
      tolerance: 0,
    });
  }
}

/** A single number may be stored with or without an axis. */
const sameShape = (a: Tensor, b: Tensor): boolean =>
  a.shape.join() === b.shape.join() || (a.numel === 1 && b.numel === 1);

/** Largest magnitude in a tensor; 0 for an empty one. */
export const largest = (x: Tensor): number =>
  noGrad(() => scope(() => (x.numel === 0 ? 0 : x.abs().max().item())));

/** Largest absolute difference of two tensors of one shape; what is made from a list of numbers may lie on the CPU. */
const distance = (actual: Tensor, expected: Tensor): number =>
  noGrad(() => scope(() => largest(actual.to({ device: expected.device }).sub(expected))));

/** Runs `fn` in a scope and gives the cases that it collected. */
export function collectCases(fn: (cases: Cases) => void): Case[] {
  const cases = new Cases();
  scope(() => fn(cases));
  return cases.list;
}

/** A golden file, its tensors by name, on the device of the models (`loadingOn`), and the settings in its metadata entry `meta`. */
export function openGolden(
  folder: string,
  name: string,
): { file: SafetensorsFile; get: (name: string) => Tensor; meta: Record<string, unknown> } {
  const file = openSafetensors(join(folder, name), { device: loadingDevice() });
  return {
    file,
    get: (tensorName) => file.get(tensorName),
    meta: parseJson(file.metadata.meta ?? "{}") as Record<string, unknown>,
  };
}
