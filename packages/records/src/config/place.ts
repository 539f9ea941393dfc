// What a setting's text names. Stated in the schema, read by `places.ts`.
import { z } from "zod";

/**
 * - `path`: a file or folder of this machine
 * - `model`: a folder or file of a model, or its name on a hub
 * - `configs`: the same, of which the weights are not needed
 * - `scorer`: `NAME:PATH[,OPTION=PATH…]` with such names as a model's, a module or folder, or a word that the setting explains
 */
export type Place = "path" | "model" | "configs" | "scorer";

/**
 * What the schemas of settings say of places: which one a text is, or of which schema an object holds settings.
 *
 * That schema is of unknown type here, since zod reads schemas in the type of a registry as the one that is registered.
 */
export const placeRegistry = z.registry<{ place?: Place; settingsOf?: unknown }>();

const placeText = (place: Place): z.ZodString => z.string().register(placeRegistry, { place });

/** A text that names a file or folder of this machine. */
export const pathText = (): z.ZodString => placeText("path");
/** A text that names a model: folder, file, or name on a hub. */
export const modelText = (): z.ZodString => placeText("model");
/** A text that names a model whose configs and tokenizers alone are read. */
export const configsText = (): z.ZodString => placeText("configs");
/** A text that names a scorer or a judge. */
export const scorerText = (): z.ZodString => placeText("scorer");

/** Some settings of another schema, which that one checks. */
export const someSettingsOf = (schema: z.ZodType): z.ZodRecord<z.ZodString, z.ZodUnknown> =>
  z.record(z.string(), z.unknown()).register(placeRegistry, { settingsOf: schema });
