// What options of a command line may hold.
import { InvalidArgumentError } from "commander";

export function wholeNumber(text: string): number {
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("It is a whole number, 0 or more.");
  return Number(text);
}

export function positive(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) === 0 || !Number.isSafeInteger(Number(text)))
    throw new InvalidArgumentError("It is a whole number, 1 or more.");
  return Number(text);
}

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

export function number(text: string): number {
  if (text.trim() === "" || !Number.isFinite(Number(text))) throw new InvalidArgumentError("It is a number.");
  return Number(text);
}
