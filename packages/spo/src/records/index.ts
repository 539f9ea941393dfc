export { Event, type EventBody, Passes, parseEvents } from "./events.js";
export { differingKeys, Run } from "./run.js";
