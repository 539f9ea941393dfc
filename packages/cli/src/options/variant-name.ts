import { InvalidArgumentError } from "commander";

/** A part of file names, as `fp16`: letters, digits, `-` and `_`, with single dots between. Anything else could lead out of a folder. */
export function variantName(text: string): string {
  if (!/^[\w-]+(\.[\w-]+)*$/.test(text))
    throw new InvalidArgumentError("It is a part of file names, as fp16: letters, digits, - and _.");
  return text;
}
