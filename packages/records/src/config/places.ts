// The files, folders and models that a config names, as its schema says.
import type { z } from "zod";
import type { Place } from "./place.js";
import { defOf, shapeOf, unwrap } from "./settings.js";

/**
 * A config with other texts for the places that it names, in lists, objects within and settings of other schemas too.
 *
 * config: checked, or some settings of the schema; what the schema does not know stays.
 */
export function mapPlaces<C extends object>(
  schema: z.ZodType,
  config: C,
  map: (text: string, place: Place) => string,
): C {
  const each = (value: unknown, place: Place): unknown =>
    typeof value === "string"
      ? map(value, place)
      : Array.isArray(value)
        ? value.map((item) => each(item, place))
        : value;
  return walk(schema, config, each) as C;
}

/** Each place that a config names, in the schema's spelling. config: as for `mapPlaces`. */
export function placesIn(schema: z.ZodType, config: object): { place: Place; text: string }[] {
  const found: { place: Place; text: string }[] = [];
  mapPlaces(schema, config, (text, place) => {
    found.push({ place, text });
    return text;
  });
  return found;
}

/** A config without the settings that name places of this machine. kept: places that stay as they are. */
export const withoutPlaces = (schema: z.ZodType, config: object, kept: readonly Place[] = []): object =>
  walk(schema, config, (value, place) => (kept.includes(place) ? value : undefined)) as object;

/** at: what a place's value, or the list of them, becomes; undefined leaves the setting out. */
function walk(schema: z.ZodType, value: unknown, at: (value: unknown, place: Place) => unknown): unknown {
  const { inner, place, settingsOf } = unwrap(schema);
  const { element } = defOf(inner);
  if (place !== undefined) return at(value, place);
  if (Array.isArray(value)) return element ? value.map((item) => walk(element, item, at)) : value;
  if (typeof value !== "object" || value === null) return value;
  const members = shapeOf(settingsOf ? unwrap(settingsOf).inner : inner) ?? {};
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, own]) => {
      const member = Object.hasOwn(members, key) ? members[key] : undefined;
      const mapped = member ? walk(member, own, at) : own;
      return mapped === undefined && own !== undefined ? [] : [[key, mapped]];
    }),
  );
}
