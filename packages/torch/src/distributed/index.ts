export type { ChosenBackend, CollectiveBackend } from "./choose-backend.js";
export { initWorld, tellOthers, type WorldOptions, type WorldPlace } from "./init-world.js";
export { type LaunchPlace, launchPlace } from "./launch-place.js";
export { addressTowards, interfaceOf } from "./network-address.js";
export type { EndReason } from "./process-world.js";
export { requireSame } from "./require-same.js";
export { requireShared } from "./require-shared.js";
export { WORLD_OF_ONE, type World } from "./world.js";
