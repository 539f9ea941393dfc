// @ts-check
// What the package offers as `@spo/native/libtorch`; typed in libtorch.d.ts.
export { environmentChecks } from "./environment.js";
export { builtAddon, cacheFolder, findLibtorch, supportedTorch } from "./find-libtorch.js";
export { SetupError } from "./setup-error.js";
export { pinnedTorch } from "./wheels.js";
