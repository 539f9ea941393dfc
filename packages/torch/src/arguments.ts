// Errors for arguments of the wrong type: a caller without types should read what was wrong, not what it led to.

/** A value in words: `a string`, `null`, `a list`, `a Linear`. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return "a list";
  if (typeof value !== "object") return `a ${typeof value}`;
  const { name = "" } = (value.constructor as { name?: string } | undefined) ?? {};
  if (name === "" || name === "Object") return "an object";
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}

/** `add: argument 'other' must be a Tensor or a number, not a string`. */
export function wrongArgument(where: string, argument: string, wanted: string, value: unknown): TypeError {
  const what =
    value === undefined ? `is missing: it must be ${wanted}` : `must be ${wanted}, not ${kindOf(value)}`;
  return new TypeError(`${where}: argument '${argument}' ${what}`);
}

/** Throws a TypeError for what is not a finite number. */
export function checkNumber(where: string, argument: string, value: unknown): void {
  if (typeof value !== "number") throw wrongArgument(where, argument, "a number", value);
  if (Number.isNaN(value)) throw new TypeError(`${where}: argument '${argument}' must be a number, not NaN`);
}

/** Throws a TypeError for what is no integer from `least` on. */
export function checkSize(where: string, argument: string, value: unknown, least = 0): void {
  if (typeof value !== "number") throw wrongArgument(where, argument, "an integer", value);
  if (!Number.isSafeInteger(value) || value < least)
    throw new TypeError(`${where}: argument '${argument}' must be an integer from ${least} on, not ${value}`);
}

/** Throws a TypeError for what is no function. */
export function checkFunction(where: string, argument: string, value: unknown): void {
  if (typeof value !== "function") throw wrongArgument(where, argument, "a function", value);
}

/** Throws a TypeError for options that are no plain object, as a value given by its place is. */
export function checkOptions(where: string, options: unknown): void {
  if (typeof options === "object" && options !== null && !("handle" in options) && !Array.isArray(options))
    return;
  throw new TypeError(`${where}: the options must be an object, not ${kindOf(options)}`);
}
