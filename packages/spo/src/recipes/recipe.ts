import { join } from "node:path";
import { type Event, Run } from "@spo/records";
import { type Device, engineFacts, resolveDevice } from "@spo/torch";
import { mayChange } from "./may-change.js";

/** What a recipe yields: the events of its run folder. */
export type RecipeEvent = Event;

/** What a recipe is given beside its config. */
export interface RecipeContext {
  run: Run;
  /** Aborted: the recipe finishes its step, saves a checkpoint and throws the signal's reason. */
  signal: AbortSignal;
  /** Where it computes: `device` of its config, which is there. */
  device: Device;
  /** Called during the work with what the recipe is doing: phases that are not written to the log. */
  onPhase?: (phase: RecipeEvent) => void;
}

/** Reports what a recipe is doing: `sampling`, 7 of 20 steps, and how many times more the phase comes in the training. */
export type TellPhase = (name: string, progress?: { done: number; total: number; left?: number }) => void;

/** Makes the function by which a recipe reports its phases. */
export const phaseTeller =
  ({ run, onPhase }: RecipeContext): TellPhase =>
  (name, progress) => {
    const phase = run.tellPhase(name, progress);
    onPhase?.(phase);
  };

/** Options of a recipe that a program calls. */
export interface RecipeOptions {
  /** The run, or its folder; a run in it is resumed. Default: `run` inside the output. */
  run?: Run | string;
  /** Aborted: as in `RecipeContext`. Default: nothing stops it. */
  signal?: AbortSignal;
  /** As in `RecipeContext`. */
  onPhase?: (phase: RecipeEvent) => void;
}

/**
 * The context of the given options: the run is opened here, and the device found. `using` closes a run that was opened here.
 *
 * Throws a UserError for a device that is not there, before a folder is made.
 */
export function openContext(
  kind: string,
  config: { output: string; device?: string },
  { run = join(config.output, "run"), signal = new AbortController().signal, onPhase }: RecipeOptions,
): RecipeContext & Disposable {
  const device = resolveDevice(config.device ?? "cpu");
  if (typeof run !== "string") return { run, signal, device, onPhase, [Symbol.dispose]: () => {} };
  const opened = Run.open(run, { kind, config, engine: engineFacts(), mayChange: mayChange(kind) });
  return { run: opened, signal, device, onPhase, [Symbol.dispose]: () => opened.close() };
}
