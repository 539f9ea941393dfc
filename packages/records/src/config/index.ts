// From schema, presets, files and the command line to one checked config. No tensor code.
export { grouped } from "./groups.js";
export { settingsHelp } from "./help.js";
export { meant } from "./meant.js";
export { editDistance, nearest } from "./nearest.js";
export { type Overrides, parseOverrides } from "./overrides.js";
export { importOwn, isModulePath } from "./own-module.js";
export { configsText, modelText, type Place, pathText, scorerText, someSettingsOf } from "./place.js";
export { mapPlaces, placesIn, withoutPlaces } from "./places.js";
export { type ConfigSources, checkConfig, readConfigFile, resolveConfig } from "./resolve.js";
export type { ScaledSettings } from "./scale.js";
export { type Setting, settingsOf } from "./settings.js";
export { isSpelled, kebabCase, withOptionNames } from "./spelling.js";
