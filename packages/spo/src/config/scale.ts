/** A setting that counts, and others that are of its length: a warm-up, an interval. */
export interface ScaledSettings {
  /** Where the length is given without them, they are made as much shorter as it is. */
  length: string;
  others: readonly string[];
}

/**
 * What `others` are where only the length was given, of the user's own settings and of what they stand on: presets and defaults.
 *
 * A preset's warm-up of 500 steps in 8000 would be all of 200. Nothing is made longer, and nothing less than 1.
 */
export function scaledSettings(
  own: Readonly<Record<string, unknown>>,
  base: Readonly<Record<string, unknown>>,
  { length, others }: ScaledSettings,
): Record<string, number> {
  const [given, meant] = [own[length], base[length]];
  if (typeof given !== "number" || typeof meant !== "number" || !(given < meant)) return {};
  return Object.fromEntries(
    others.flatMap((name) => {
      const value = base[name];
      if (own[name] !== undefined || typeof value !== "number" || value <= 0) return [];
      return [[name, Math.max(1, Math.round((value * given) / meant))]];
    }),
  );
}
