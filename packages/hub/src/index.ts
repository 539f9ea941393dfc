export { type HubEnvironment, hubEnvironment } from "./environment.js";
export { type FetchOptions, fetchModel, type HubEvent } from "./fetch-model.js";
export type { Patience } from "./hub-fetch.js";
export { type HubId, parseHubId } from "./hub-id.js";
