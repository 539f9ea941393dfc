/** A setting that counts, and others that go with its length. */
export interface ScaledSettings {
  length: string;
  /** Settings that shrink in proportion where only the length is given: a warm-up. */
  parts: readonly string[];
  /** Settings that become at most a quarter of the length where only the length is given: an interval between measurements. */
  intervals: readonly string[];
}

/**
 * What parts and intervals are where only the length was given, of the user's own settings and of what they stand on: presets and defaults.
 *
 * A preset's warm-up of 500 steps in 8000 would be all of 200. Nothing is made longer, and nothing less than 1.
 */
export function scaledSettings(
  own: Readonly<Record<string, unknown>>,
  base: Readonly<Record<string, unknown>>,
  { length, parts, intervals }: ScaledSettings,
): Record<string, number> {
  const [given, meant] = [own[length], base[length]];
  if (typeof given !== "number" || typeof meant !== "number" || !(given < meant)) return {};
  const scaled = (names: readonly string[], of: (value: number) => number): [string, number][] =>
    names.flatMap((name) => {
      const value = base[name];
      if (own[name] !== undefined || typeof value !== "number" || value <= 0) return [];
      return [[name, Math.max(1, Math.round(of(value)))]];
    });
  return Object.fromEntries([
    ...scaled(parts, (value) => (value * given) / meant),
    ...scaled(intervals, (value) => Math.min(value, given / 4)),
  ]);
}
