// A training's progress in one line: how far it is, what it does, how long it takes.
import { TimeLeft } from "@spo/records";
import type { RecipeEvent } from "spo/recipes";
import type { ProgressBar } from "./progress-bar.js";

/** Phases whose parts are sampling steps. */
const BY_STEPS = ["sampling", "drawing held-out samples"];

const HIDDEN = ["progress", "gradNorm"];

/** The first few of a step's or measurement's figures. */
export function metricWords(metrics: Readonly<Record<string, number | null>>, count = 3): string {
  return Object.entries(metrics)
    .filter(([name]) => !HIDDEN.includes(name))
    .slice(0, count)
    .map(([name, value]) => `${name} ${value === null ? "not finite" : Number(value.toPrecision(3))}`)
    .join(", ");
}

/** `loading the model`, `sampling, step 7 of 20`, `measuring 12 of 64`. */
export function phaseWords({ name, done, total }: { name: string; done: number; total: number }): string {
  if (total === 0) return name;
  return BY_STEPS.includes(name) ? `${name}, step ${done} of ${total}` : `${name} ${done} of ${total}`;
}

export class TrainingProgress {
  readonly #bar: ProgressBar;
  readonly #kind: string;
  readonly #now: () => number;
  readonly #time = new TimeLeft();
  #done = 0;
  #total = 0;
  #detail = "";

  /** kind: of the recipe, for the line's beginning. now: seconds. */
  constructor(bar: ProgressBar, kind: string, now = () => performance.now() / 1000) {
    this.#bar = bar;
    this.#kind = kind;
    this.#now = now;
  }

  /** An update is done. */
  step(event: RecipeEvent & { type: "step" }): void {
    this.#time.see(event, this.#now());
    const { step, total, metrics } = event;
    // A step of some recipes has several updates, each with an event.
    this.#done = (metrics.progress ?? step / total) * total;
    this.#total = total;
    this.#detail = metricWords(metrics);
    this.#show();
  }

  /** What the recipe is doing. */
  phase(event: RecipeEvent & { type: "phase" }): void {
    this.#time.see(event, this.#now());
    const { name, done, total } = event;
    // The figures of the last update are worth more than the news that the next one begins or that something has ended.
    const isWorthWords = total === 0 || (done < total && !(name === "updating" && done === 0));
    this.#show(isWorthWords || this.#detail === "" ? phaseWords(event) : undefined);
  }

  #show(doing?: string): void {
    this.#bar.advance({
      stage: this.#kind,
      done: this.#done,
      total: this.#total,
      detail: this.#detail,
      doing,
      left: this.#time.secondsLeft(this.#now()) ?? null,
    });
  }
}
