// The guard of a training: it watches the measurements in the run's log, keeps the best weights, and stops or slows a training whose judge
// is exploited or whose samples of a prompt become alike.
import { join } from "node:path";
import type { Event, Run } from "@spo/records";
import { noGrad, openSafetensors, safetensorsContents, type Tensor } from "@spo/torch";
import type { World } from "@spo/torch/distributed";
import type { RecipeEvent } from "../recipe.js";
import type { GuardSettings } from "./guard-config.js";
import { diverseOnes, type GuardMeasurement, heldOutVerdict } from "./held-out-verdict.js";
import type { Policy } from "./policy.js";

/** What a guard is made of. */
export interface GuardInput {
  settings: GuardSettings;
  run: Run;
  world: World;
  modules: Policy["modules"];
  /** The metric of an `eval` event that is the training's own score. */
  trainingScore: string;
  /** `round` or `step`, for people. */
  unit: string;
}

/**
 * All that it decides is a function of the run's log, so a resumed run decides the same. The process that writes the log decides for all.
 */
export class Guard {
  readonly #input: GuardInput;
  #stopped: Decision | undefined;
  #lowered = 0;

  constructor(input: GuardInput) {
    this.#input = input;
  }

  /** After the run has resumed, which cuts its log: takes up what was decided before. */
  async resume(): Promise<void> {
    const { run, world } = this.#input;
    [this.#lowered = 0] = await world.gather(decisionsIn(run.events()).length);
  }

  /** What the learning rate is multiplied by. */
  get rate(): number {
    const { action, lowerBy } = this.#input.settings;
    return action === "lower" ? lowerBy ** this.#lowered : 1;
  }

  /** Whether the training is to end. */
  get isStopped(): boolean {
    return this.#stopped !== undefined;
  }

  /** After a measurement, which the log has: keeps the weights if they are the best, and decides. */
  async *see(step: number): AsyncGenerator<RecipeEvent> {
    const { settings, run, world } = this.#input;
    if (settings.patience === null && settings.minDiversity === null) return;
    const mine = run.writes ? this.#decide(step) : undefined;
    await world.waitForRank0("the save"); // of the best weights
    const [decision] = await world.gather(mine);
    if (!decision) return;
    if (decision.action === "stop") this.#stopped = decision;
    this.#lowered++;
    yield run.record(decision);
  }

  #decide(step: number): Decision | undefined {
    const { settings, run, trainingScore, unit } = this.#input;
    const { action, patience, minDiversity } = settings;
    const events = run.events();
    const history = measurementsIn(events, trainingScore);
    const last = history.at(-1) as GuardMeasurement;
    const diverse = diverseOnes(history, minDiversity ?? 0);
    const newest = diverse.at(-1) as GuardMeasurement; // the first is always among them
    const kept = (patience !== null && heldOutVerdict(diverse, patience)?.best) || newest;
    if (kept.step === step) run.saveBest(step, { [BEST_WEIGHTS]: safetensorsContents(this.#weights()) });
    const decision = (best: GuardMeasurement, reason: string): Decision => ({
      ...{ type: "guard", step, action, best: best.step, reason },
    });
    if (newest !== last)
      return decision(kept, tooAlike(history[0] as GuardMeasurement, last, minDiversity as number));
    if (patience === null) return undefined;
    // After an action the judge gets as many measurements again.
    const after = decisionsIn(events).at(-1)?.step ?? 0;
    const verdict = heldOutVerdict(
      history.filter((each) => each.step >= after),
      patience,
    );
    return verdict?.isExploited
      ? decision(verdict.best, exploited(verdict.best, last, verdict.since, unit))
      : undefined;
  }

  /** Gives the policy the best weights, where the guard has stopped the training. For the run's result. */
  finish(): { stopped?: string; best?: number } {
    if (!this.#stopped) return {};
    const { best, reason } = this.#stopped;
    // The others' weights go nowhere.
    if (this.#input.run.writes) this.#read(this.#input.run.best(best));
    return { stopped: reason, best };
  }

  #weights(): Map<string, Tensor> {
    const { policy, average } = this.#input.modules;
    const named = (module: typeof average, prefix: string): [string, Tensor][] =>
      [...(module?.namedParameters() ?? [])].map(([name, value]) => [`${prefix}/${name}`, value]);
    return new Map([...named(policy, "policy"), ...named(average, "average")]);
  }

  #read(folder: string): void {
    using file = openSafetensors(join(folder, BEST_WEIGHTS));
    noGrad(() => {
      for (const [name, target] of this.#weights()) {
        using saved = file.get(name);
        target.detach().copy_(saved);
      }
    });
  }
}

/** The file of the best weights, named as a checkpoint's are. */
export const BEST_WEIGHTS = "policy.safetensors";

type Decision = Omit<Extract<Event, { type: "guard" }>, "time">;

const decisionsIn = (events: readonly Event[]) => events.filter((event) => event.type === "guard");

/** Of the held-out samples alone, which have a drift: held-out pairs are measured between them. */
function measurementsIn(events: readonly Event[], trainingScore: string): GuardMeasurement[] {
  return events.flatMap((event) =>
    event.type === "eval" && "drift" in event.metrics
      ? [
          {
            step: event.step,
            training: event.metrics[trainingScore] ?? Number.NaN,
            heldOut: event.metrics.heldOut ?? Number.NaN,
            diversity: event.metrics.diversity ?? Number.NaN,
          },
        ]
      : [],
  );
}

const short = (value: number): string => String(Number(value.toPrecision(3)));

function exploited(best: GuardMeasurement, last: GuardMeasurement, since: number, unit: string): string {
  return (
    `The held-out scores were highest at ${unit} ${best.step} and have been lower for ${since} measurements ` +
    `(${short(best.heldOut)} to ${short(last.heldOut)}, in standard deviations of the base's), while the training's own score rose ` +
    `from ${short(best.training)} to ${short(last.training)}: what is learned pleases the judge alone.`
  );
}

const tooAlike = (base: GuardMeasurement, last: GuardMeasurement, share: number): string =>
  `The images of a prompt have become alike: their mean distance is ${short(last.diversity)}, less than ${share} of the base's ` +
  `${short(base.diversity)}.`;
