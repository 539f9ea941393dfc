// What options of a command line may hold.
import { InvalidArgumentError } from "commander";

/** A whole number between two bounds, both allowed. */
export function wholeFrom(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !(value >= least && value <= most))
      throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`);
    return value;
  };
}

/** A number between two bounds, both allowed. */
export function numberFrom(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !(value >= least && value <= most))
      throw new InvalidArgumentError(`It is a number from ${least} to ${most}.`);
    return value;
  };
}

/** Seeds of a generator: whole numbers that JavaScript holds exactly. */
export const seed = wholeFrom(0, Number.MAX_SAFE_INTEGER);
/** Sides of an image, pixels. */
export const pixels = wholeFrom(1, 16384);
/** Steps of a sampler: a model is trained on a thousand timesteps. */
export const samplingSteps = wholeFrom(1, 1000);
/** Of classifier-free guidance. */
export const guidance = numberFrom(-1000, 1000);
/** Images or pairs that are asked for. */
export const amount = wholeFrom(1, 1_000_000);
/** Things that are computed at once. */
export const batch = wholeFrom(1, 4096);
/** Threads within one operation. */
export const threads = wholeFrom(1, 1024);
/** A part of one. */
export const share = numberFrom(0, 1);

/** Bytes: `12GB`, `12 GiB`, `800MB`; GB are 10⁹, GiB 2³⁰. */
export function memorySize(text: string): number {
  const [, amount, unit] = /^\s*(\d+(?:\.\d+)?)\s*([MGT]i?B?)\s*$/i.exec(text) ?? [];
  const scale = { m: 1, g: 2, t: 3 }[unit?.[0]?.toLowerCase() ?? ""];
  const bytes =
    scale === undefined
      ? Number.NaN
      : Number(amount) * (/i/i.test(unit ?? "") ? 1024 ** 2 * 1024 ** (scale - 1) : 1e6 * 1e3 ** (scale - 1));
  if (!(bytes > 0) || bytes > Number.MAX_SAFE_INTEGER)
    throw new InvalidArgumentError("It is an amount of memory, as 12GB, 11.5GiB or 800MB.");
  return Math.floor(bytes);
}
