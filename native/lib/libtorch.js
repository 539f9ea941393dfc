// @ts-check
// What the package offers as `@spo/native/libtorch`; typed in libtorch.d.ts.
export { cacheFolder } from "./cache-folder.js";
export { environmentChecks } from "./environment.js";
export { builtAddon, findLibtorch, supportedTorch } from "./find-libtorch.js";
export { setUpEngine } from "./set-up.js";
export { readyWords } from "./set-up-program.js";
export { SetupError } from "./setup-error.js";
export { pinnedTorch } from "./wheels.js";
