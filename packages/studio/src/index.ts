// Shows runs in the browser: a server over run folders, and the page.

export type * from "./api.js";
export type { ClientFiles } from "./client-files.js";
export type { Presets } from "./runs/nearest-preset.js";
export { type Served, type ServeOptions, serve } from "./serve.js";
export type { JobsAllowed } from "./steering/job-routes.js";
export { createStudio, type Studio, type StudioOptions } from "./studio.js";
