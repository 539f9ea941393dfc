// Which published settings a run is nearest to, and where it differs.
import { differingKeys } from "@spo/records";
import type { Difference, RunPage } from "../api.js";

/** Settings with a name, by kind of run. */
export type Presets = Readonly<Record<string, Readonly<Record<string, object>>>>;

/** The preset with the fewest differences; only what a preset sets is compared. Undefined where there is none. */
export function nearestPreset(
  config: Readonly<Record<string, unknown>>,
  presets: Readonly<Record<string, object>>,
): RunPage["preset"] {
  const all = Object.entries(presets).map(([name, preset]) => ({
    name,
    differences: differences(config, preset),
  }));
  return all.sort((a, b) => a.differences.length - b.differences.length)[0];
}

function differences(config: Readonly<Record<string, unknown>>, preset: object): Difference[] {
  return Object.entries(preset)
    .flatMap(([key, value]) => differingKeys(restrictedTo(value, own(config, key)), value, key))
    .map((setting) => ({ setting, here: at(config, setting), there: at(preset, setting) }));
}

/** Of an object the members that another one has. */
const restrictedTo = (wanted: unknown, value: unknown): unknown =>
  isRecord(wanted) && isRecord(value)
    ? Object.fromEntries(Object.keys(wanted).map((key) => [key, restrictedTo(wanted[key], own(value, key))]))
    : value;

const at = (value: unknown, path: string): unknown =>
  path.split(".").reduce((inner, key) => (isRecord(inner) ? own(inner, key) : undefined), value);

const own = (value: Readonly<Record<string, unknown>>, key: string): unknown =>
  Object.hasOwn(value, key) ? value[key] : undefined;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
