// The paths that a config names, those within a scorer's words too.
import type { MapPaths } from "@spo/records";
import { mapPlaces, type Place } from "@spo/records/config";
import { mapSpecPaths } from "@spo/scorers/reward-spec";
import type { z } from "zod";

/**
 * A config with other texts for the paths and models that its schema says it names. place: never `scorer`; of a scorer's words each path is
 * asked for. config: as for `mapPlaces`. Throws a UserError (`USAGE`) for a scorer that names none.
 */
export const mapConfigPaths = <C extends object>(
  schema: z.ZodType,
  config: C,
  map: (path: string, place: Place) => string,
): C =>
  mapPlaces(schema, config, (text, place) =>
    place === "scorer" ? mapSpecPaths(text, map) : map(text, place),
  );

/** The same for the runs of a schema's recipe. */
export const pathsOf =
  (schema: z.ZodType): MapPaths =>
  (config, map) =>
    mapConfigPaths(schema, config, (path) => map(path));
