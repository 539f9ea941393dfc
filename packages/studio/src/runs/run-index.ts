// The runs of a folder by ID, looked for again as time passes.
import { realpathSync } from "node:fs";
import type { RunSummary } from "../api.js";
import { type FoundRun, findRuns } from "./find-runs.js";
import { RunSummaries } from "./run-summary.js";

/** A search is not repeated sooner, and never takes more than a part of the time. */
const LEAST_MS = 1000;
const SHARE = 20;

/** The runs below a folder. */
export class RunIndex {
  readonly root: string;
  readonly #summaries = new RunSummaries();
  #runs = new Map<string, FoundRun>();
  #sets = new Map<string, FoundRun>();
  #grids = new Map<string, FoundRun>();
  #search?: Promise<void>;
  #validUntil = 0;

  /** root: a folder that is there. */
  constructor(root: string) {
    this.root = realpathSync(root);
  }

  /** All runs, the newest first; what processes do is as of now. */
  async list(): Promise<RunSummary[]> {
    await this.#refresh();
    return [...this.#runs.values()]
      .map((run) => this.#summaries.of(run))
      .sort((a, b) => (a.changed < b.changed ? 1 : a.changed > b.changed ? -1 : a.name < b.name ? -1 : 1));
  }

  /** The run of an ID, if there is one. */
  async find(id: string): Promise<FoundRun | undefined> {
    if (!this.#runs.has(id)) await this.#refresh();
    return this.#runs.get(id);
  }

  /** The preference sets, by name. */
  async sets(): Promise<FoundRun[]> {
    await this.#refresh();
    return [...this.#sets.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The set of an ID, if there is one. */
  async findSet(id: string): Promise<FoundRun | undefined> {
    if (!this.#sets.has(id)) await this.#refresh();
    return this.#sets.get(id);
  }

  /** The grids of pictures, by name. */
  async grids(): Promise<FoundRun[]> {
    await this.#refresh();
    return [...this.#grids.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** The grid of an ID, if there is one. */
  async findGrid(id: string): Promise<FoundRun | undefined> {
    if (!this.#grids.has(id)) await this.#refresh();
    return this.#grids.get(id);
  }

  /** The run of an ID is not there any more. */
  forget(id: string): void {
    this.#runs.delete(id);
  }

  /** The next answer is of a new search. */
  searchAgain(): void {
    this.#validUntil = 0;
  }

  /** What the list says of one run. */
  summaryOf(run: FoundRun): RunSummary {
    return this.#summaries.of(run);
  }

  #refresh(): Promise<void> {
    if (performance.now() < this.#validUntil) return Promise.resolve();
    this.#search ??= this.#look().finally(() => {
      this.#search = undefined;
    });
    return this.#search;
  }

  async #look(): Promise<void> {
    const began = performance.now();
    const found = await findRuns(this.root);
    this.#runs = new Map(found.runs.map((run) => [run.id, run]));
    this.#sets = new Map(found.sets.map((set) => [set.id, set]));
    this.#grids = new Map(found.grids.map((grid) => [grid.id, grid]));
    this.#summaries.keep(new Set(this.#runs.keys()));
    const now = performance.now();
    this.#validUntil = now + Math.max(LEAST_MS, SHARE * (now - began));
  }
}
