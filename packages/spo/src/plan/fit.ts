// Finds settings that make a job fit into a memory, trying the cheapest first.
import type { Plan } from "./job.js";

/** One way to take less memory. */
export interface Saving<S> {
  /** The setting that it changes. */
  key: keyof S & string;
  /** The same as the command line writes it. */
  setting: string;
  /** Its cost, in a few words. */
  cost: string;
  /** Whether it can help while the peak is in this phase; otherwise it is not tried. */
  helps: (peakIn: string) => boolean;
  /** Whether it can stand beside the other settings; absent: beside all. */
  fits?: (settings: S) => boolean;
  /** The next smaller settings and the value they have now; undefined where there is nothing smaller. */
  next: (settings: S) => { settings: S; value: string } | undefined;
}

/** A saving that was taken, and what the job needs with it and all before it. */
export interface Saved {
  setting: string;
  value: string;
  cost: string;
  /** Bytes. */
  peak: number;
  peakIn: string;
  /** Operations of the whole job, as a part of those of the job that was asked for. */
  work: number;
}

/** What was found for a memory. */
export interface Fit<S> {
  /** Bytes to fit into. */
  memory: number;
  /** Whether the job fits as it was asked for. */
  fits: boolean;
  /** What was changed, in order, each with the peak that it leads to. Empty where the job fits. */
  savings: Saved[];
  /** Whether it fits with all savings. */
  fitsWith: boolean;
  /** With all savings. */
  settings: S;
}

/**
 * Looks for settings with which a job fits into `memory` bytes: again and again the first saving of the list that lowers the peak, until it
 * fits or none does; what then proves needless is taken back. `planOf` makes the plan of settings; `first` is the plan of `settings`.
 */
export function fitInto<S>(
  memory: number,
  settings: S,
  first: Plan,
  savings: readonly Saving<S>[],
  planOf: (settings: S) => Plan,
): Fit<S> {
  const lowered = new Map<Saving<S>, Saved>();
  let at = settings;
  let { peak, peakIn } = first.memory;
  const fits = peak <= memory;
  while (peak > memory) {
    const step = cheapest(at, { peak, peakIn, work: workOf(first) }, savings, planOf);
    if (!step) break;
    ({ peak, peakIn } = step.saved);
    at = step.settings;
    lowered.set(step.saving, step.saved); // a setting that was lowered before keeps its position
  }
  const fitsWith = peak <= memory;
  // Later savings may have made earlier ones needless. The most expensive is taken back first.
  let needless = false;
  for (const saving of fitsWith ? savings.toReversed() : []) {
    if (lowered.size < 2 || !lowered.has(saving)) continue;
    const without = { ...at, [saving.key]: settings[saving.key] };
    if ([...lowered.keys()].some((other) => other !== saving && other.fits?.(without) === false)) continue;
    if (planOf(without).memory.peak > memory) continue;
    at = without;
    lowered.delete(saving);
    needless = true;
  }
  if (needless) {
    let partly = settings;
    for (const [{ key }, saved] of lowered) {
      partly = { ...partly, [key]: at[key] };
      Object.assign(saved, needsOf(planOf(partly), workOf(first)));
    }
  }
  return { memory, fits, savings: [...lowered.values()], fitsWith, settings: at };
}

/** Operations of a whole job, forward and backward. */
const workOf = ({ work: { flops } }: Plan): number => flops.forward + flops.backward;

/** asked: the operations of the job that was asked for. */
const needsOf = (plan: Plan, asked: number): Pick<Saved, "peak" | "peakIn" | "work"> => ({
  peak: plan.memory.peak,
  peakIn: plan.memory.peakIn,
  work: workOf(plan) / asked,
});

/** The first saving that lowers the peak; one that does so only at a smaller value is followed down to there. */
function cheapest<S>(
  settings: S,
  now: { peak: number; peakIn: string; work: number },
  savings: readonly Saving<S>[],
  planOf: (settings: S) => Plan,
): { saving: Saving<S>; settings: S; saved: Saved } | undefined {
  for (const saving of savings) {
    const { setting, cost, helps, fits, next } = saving;
    if (!helps(now.peakIn) || fits?.(settings) === false) continue;
    for (let smaller = next(settings); smaller; smaller = next(smaller.settings)) {
      const needs = needsOf(planOf(smaller.settings), now.work);
      if (needs.peak < now.peak)
        return {
          saving,
          settings: smaller.settings,
          saved: { setting, value: smaller.value, cost, ...needs },
        };
    }
  }
  return undefined;
}

/** The next smaller whole number by halves, not below `least`. */
export const halved = (value: number, least = 1): number | undefined =>
  value > least ? Math.max(least, Math.floor(value / 2)) : undefined;
