// The schemas of what a run writes, its writer and its readers. No tensor code: what shows a run imports only this.
export { type Checkpoint, checkCheckpoint, listCheckpoints } from "./checkpoints.js";
export { computedPart, Event, type EventBody, Passes, parseEvents, salvageEvents } from "./events.js";
export { differingKeys, Run, type RunRecord, readRun } from "./run.js";
