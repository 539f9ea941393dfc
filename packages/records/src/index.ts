// The schemas of what a run writes, its writer and its readers. No tensor code: what shows a run imports only this.

export {
  type Lock,
  LockTaken,
  makeFolder,
  renameDurably,
  takeLock,
  UserError,
  writeFileAtomic,
} from "@spo/torch/files";
export { Activity, readActivity } from "./activity.js";
export { cohenKappa, krippendorffAlpha } from "./agreement.js";
export { bradleyTerry, bradleyTerryIntervals, type Match } from "./bradley-terry.js";
export { type Checkpoint, checkCheckpoint, listCheckpoints } from "./checkpoints.js";
export { computedPart, Event, type EventBody, Passes, parseEvents, salvageEvents } from "./events.js";
export { addInvite, invitedBy } from "./invite.js";
export { csvOf, type MetricTable, metricTable } from "./metric-table.js";
export { PASSES, type Pass } from "./passes.js";
export { fileOfRun, readOrdinary, readRecord } from "./read-record.js";
export {
  type DataFacts,
  differingKeys,
  type MayChange,
  Run,
  type RunRecord,
  type RunSettings,
  type RunWriter,
  readRun,
  runWriter,
  settingsIn,
} from "./run.js";
export { type MapPaths, pathOfRun, placesOf } from "./run-paths.js";
export { askRun, openRequests, RUN_REQUESTS, type RunRequest } from "./run-requests.js";
export { schemaFaults } from "./schema-faults.js";
export {
  bootstrap,
  bootstrapMean,
  type Estimate,
  mean,
  signTest,
  winRate,
} from "./statistics.js";
export { TENSORBOARD, TensorboardLog } from "./tensorboard-log.js";
export { TimeLeft } from "./time-left.js";
export { ANSWERS, type Answer, Vote } from "./vote.js";
export { VoteLog } from "./vote-log.js";
export {
  CANDIDATE_PICTURES,
  PHASE_SPANS,
  type PhaseSpan,
  type Seconds,
  timed,
  type Work,
  WorkMeter,
} from "./work.js";
export type { CheckpointFiles, FileContents } from "./write-checkpoint.js";
