// What the server tells and the page reads. Types alone, so that the page bundles nothing of the server.

/**
 * What a run is at: written by a living process; ended with a result; stopped, to be gone on with; left by a process that was killed;
 * not readable.
 */
export type RunState = "running" | "finished" | "stopped" | "killed" | "damaged";

/** A run in the list. */
export interface RunSummary {
  id: string;
  /** Its path below the folder that is shown. */
  name: string;
  /** Its command, as `train spo`. */
  kind: string;
  state: RunState;
  step: number;
  /** 0 where it is not known. */
  total: number;
  /** ISO 8601; empty where no event could be read. */
  began: string;
  /** Of its newest event. */
  changed: string;
  /** By which people find it. */
  tags: string[];
  /** What is wrong with it, if something is. */
  fault?: string;
}

/** What people noted about a run. */
export interface Notes {
  tags: string[];
  note: string;
}

/** A run that was moved to the trash, and where it is now, below the folder that is shown. */
export interface Deleted {
  id: string;
  name: string;
  now: string;
}

/** All runs of a folder, the newest first. */
export interface RunList {
  schema: "spo.studio.runs/1";
  folder: string;
  runs: RunSummary[];
}

/** What a running process does now, as it last said. */
export interface Activity {
  phase: string;
  done: number;
  /** 0 where there is nothing to count. */
  total: number;
  /** Seconds that the training will take from then on; absent before they can be told. */
  left?: number;
  at: string;
}

/** What the stream of a run sends as `state`, when it changes. */
export interface LiveState {
  state: RunState;
  activity?: Activity;
}

/** A setting in which a run differs from what it is compared with. */
export interface Difference {
  setting: string;
  here: unknown;
  there: unknown;
}

/** Pictures of held-out prompts, drawn at one step. */
export interface SampleSet {
  step: number;
  images: {
    prompt: string;
    seed: number;
    src: string;
    /** The training's judge's; absent where it has none. */
    score?: number;
  }[];
}

/** All about one run but its series and pictures. */
export interface RunPage {
  schema: "spo.studio.run/1";
  run: RunSummary;
  /** What came out, or how it goes, in a sentence. */
  essence: string;
  notes: Notes;
  /** What it was asked and has not answered yet. */
  requests: ("sample" | "save" | "stop")[];
  config: Record<string, unknown>;
  /** The published settings that it is nearest to, and where it differs from them. */
  preset?: { name: string; differences: Difference[] };
  activity?: Activity;
  /** Seconds that processes worked on it. */
  elapsed: number;
  /** Seconds; absent where it cannot be told. */
  left?: number;
  /** Mean seconds of a step by part, over the newest steps. */
  perStep: { part: string; seconds: number }[];
  /** Of several processes: mean seconds of a step that each computed, by rank; else none. */
  perRank: number[];
  /** Bytes, resident, at the newest event and at most. */
  memory?: { now: number; most: number };
  engine: Record<string, string>;
  data: Record<string, string | number>;
  checkpoints: number[];
  /** Layouts in which its result can be written from here. */
  exports: string[];
  /** How it may be gone on with from here; absent where it may not. */
  goOn?: GoingOn;
  warnings: string[];
  /** Names of the metrics of updates, and of measurements. */
  metrics: { step: string[]; eval: string[] };
  samples: SampleSet[];
  strips: { round: number }[];
  /** Share of the training's time that keeping the candidates as pictures took; absent where it was not measured. */
  picturing?: number;
  /** Where its log ends: from there `events` goes on. */
  mark: string;
}

/** How a training may be gone on with: from its last checkpoint, or, where it has ended, with a greater length. */
export interface GoingOn {
  /** The setting of its length, where it has ended. */
  length?: string;
  /** That length now. */
  from?: number;
  /** It stopped before its first checkpoint, and begins with its first step. */
  anew?: true;
}

/** One metric, thinned for a chart: lowest and highest of each group of points. */
export interface MetricSeries {
  key: string;
  /** Of the update that gave the point, from 1; of a measurement, the step. */
  x: number[];
  /** Null where it was not finite. */
  y: (number | null)[];
  /** Exponential moving average at the same places; absent without smoothing. */
  smooth?: (number | null)[];
  /** How many points there are in all. */
  points: number;
}

/** Some metrics of a run. */
export interface SeriesAnswer {
  schema: "spo.studio.series/1";
  series: MetricSeries[];
}

/** Pairs and margins, timestep by timestep and round by round. */
export interface TimestepMap {
  schema: "spo.studio.timesteps/1";
  timesteps: number[];
  rounds: { round: number; cells: (TimestepCell | null)[] }[];
}

/** What the comparisons of one timestep in one round came to. */
export interface TimestepCell {
  pairs: number;
  valid: number;
  margin: number | null;
  spread: number | null;
  notFinite: number;
  /** Of its pairs in the updates: share that the policy tells apart as the judge did, and mean |log p_θ − log p_ref|. */
  accuracy: number | null;
  logRatio: number | null;
}

/** The candidates of one prompt at one timestep. */
export interface StepRow {
  timestep: number;
  candidates: { src?: string; score: number | null }[];
  win: number;
  lose: number;
  /** The one that the next step started from; absent after the last. */
  next?: number;
  valid: boolean;
  /** Absent in runs of earlier versions, which did not record it; null where a score was not finite. */
  margin?: number | null;
  threshold?: number;
  /** Why it gave no pair; absent where it did. */
  why?: "not finite" | "tie" | "below the threshold";
}

/** The candidates of a round, prompt by prompt. */
export interface StepView {
  schema: "spo.studio.steps/1";
  round: number;
  prompts: { prompt: string; rows: StepRow[] }[];
}

/** The end of a run's log, as it stands in the file. */
export interface LogTail {
  schema: "spo.studio.log/1";
  lines: string[];
}

/** What is wrong with a request, and what to do. */
export interface Fault {
  code: string;
  message: string;
  hint?: string;
}

/** Something that people can judge. */
export interface JudgingSet {
  id: string;
  title: string;
  /** What is compared, where it is two things. */
  names?: [string, string];
  pairs: number;
}

/** A preference set that lies beside the runs. */
export interface JudgingList {
  schema: "spo.studio.judging/1";
  sets: { id: string; title: string }[];
}

/** The next pairs for a person. */
export interface NextPairs {
  schema: "spo.studio.next/1";
  set: JudgingSet;
  /** Pairs that this person has answered. */
  answered: number;
  next: { pair: string; prompt: string; left: string; right: string; repeat: boolean }[];
}

/** A link that lets somebody vote, and nothing else. */
export interface Invitation {
  schema: "spo.studio.invitation/1";
  labeller: string;
  /** Of the address, from `/` on. */
  path: string;
}

/** What trainings on the votes of a set there are, and what the next one would be. */
export interface VotesTraining {
  /** The folder of its runs. */
  next: string;
  /** The newest that ended, whose diffusion model the next one goes on with. */
  from?: string;
  /** Those that were started from the page, as the queue has them. */
  jobs: QueuedJob[];
}

/** What votes come to. */
export interface JudgingResults {
  schema: "spo.studio.votes/1";
  /** Where the page may train on the votes. */
  training?: VotesTraining;
  names?: string[];
  votes: number;
  /** Of image 0 and of image 1. */
  wins: [number, number];
  ties: number;
  bothBad: number;
  skipped: number;
  /** How often image 1 wins, ties as halves, with a 95 % interval by prompt. */
  rate?: { value: number; low: number; high: number };
  /** With so many votes a share has to be so far from one half to be seen. */
  visible?: number;
  agreement?: { by: string; value: number; pairs: number };
  /** Of more than two models, by Bradley–Terry with ties: logarithms with a 95 % interval by prompt, the strongest first. */
  models?: { name: string; votes: number; strength: { value: number; low: number; high: number } }[];
  labellers: {
    name: string;
    votes: number;
    /** Share of left among left and right, and how likely one so far from one half is by chance. */
    left?: number;
    leftP: number;
    /** Pairs that everybody should answer alike, and how many the person did. */
    gold: number;
    goldRight: number;
    hasty: number;
    repeats: number;
    agreed: number;
  }[];
}

/** A setting of a training, as the form shows it. */
export interface FormSetting {
  /** Dotted, e.g. `optimizer.lr`. */
  path: string;
  /** In words, as `int`. */
  type: string;
  range?: string;
  kind: "number" | "boolean" | "string" | "list" | "other";
  choices?: string[];
  description?: string;
  /** What it is about, as other settings are. */
  heading: string;
  required: boolean;
  default?: unknown;
}

/** What a form is made of. */
export interface JobForm {
  schema: "spo.studio.form/1";
  kind: string;
  settings: readonly FormSetting[];
  presets: Readonly<Record<string, object>>;
}

/** A training that was started from the page, or waits. */
export interface QueuedJob {
  id: string;
  kind: string;
  run: string;
  device: string;
  added: string;
  state: "waiting" | "running" | "ended" | "failed" | "cancelled";
  /** Of a training on votes: how many there were. */
  votes?: number;
  /** As a person would type it. */
  command: string;
  said: string[];
  /** Whether it stopped before its training's end, and can be started again. */
  canGoOn: boolean;
}

/** The queue; without kinds nothing may be started here. */
export interface JobList {
  schema: "spo.studio.jobs/1";
  kinds: string[];
  jobs: QueuedJob[];
}

/** What `spo plan` says of a form, or what is wrong with it. */
export interface Forecast {
  schema: "spo.studio.forecast/1";
  isPlan: boolean;
  words: string;
}

/** The grids of pictures below the folder. */
export interface GridList {
  schema: "spo.studio.grids/1";
  grids: { id: string; title: string }[];
}

/** Pictures by what they were made with. */
export interface GridView {
  schema: "spo.studio.grid/1";
  title: string;
  axes: { name: string; values: string[] }[];
  /** at: of each axis the number of the value. */
  images: { at: number[]; src: string; parameters: Record<string, unknown> }[];
  /** Where it is to be had as one HTML file and as a picture. */
  page?: string;
  picture?: string;
}

/** A pair of a preference set, in the order of its list. */
export interface DataPair {
  prompt: string;
  label: "first" | "second" | "tie" | "none";
  split: string;
  /** duplicate: as a pair before, whichever way round. leak: its prompt or a picture is in another split, too. */
  flags: ("broken" | "duplicate" | "same picture" | "leak")[];
}

/** How many of what a set has. */
export interface DataFacts {
  pairs: number;
  prompts: number;
  splits: Record<string, number>;
  first: number;
  second: number;
  ties: number;
  unlabelled: number;
  /** Lines of the list that are no pair. */
  faults: number;
}

/** A preference set that was looked through. */
export interface DataSet {
  schema: "spo.studio.data/1";
  title: string;
  facts: DataFacts;
  pairs: DataPair[];
}
