import { join } from "node:path";
import { type Event, Run, type RunSettings } from "@spo/records";
import { type Device, engineFacts, resolveDevice, UserError } from "@spo/torch";
import { WORLD_OF_ONE, type World } from "@spo/torch/distributed";
import type { z } from "zod";
import { pathsOf } from "./config-paths.js";
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
  /** The processes that do the training together. */
  world: World;
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
  /** The processes that do it together, as `initWorld` gives them. Default: this one alone. */
  world?: World;
  /** As in `RecipeContext`. */
  onPhase?: (phase: RecipeEvent) => void;
}

/** The kinds of recipes that several processes can do together. */
const TOGETHER = ["train spm", "train spo", "train dpo"];

/**
 * The context of the given options: the run is opened here, and the device found. `using` closes a run that was opened here. Rank 0 alone
 * writes the run's folder.
 *
 * Throws a UserError for a device that is not there and for processes that cannot share the work, before a folder is made.
 */
export function openContext(
  { kind, schema }: { kind: string; schema: z.ZodType },
  config: { output: string; device?: string },
  {
    run = join(config.output, "run"),
    signal = new AbortController().signal,
    world = WORLD_OF_ONE,
    onPhase,
  }: RecipeOptions,
): RecipeContext & Disposable {
  if (world.size > 1 && !TOGETHER.includes(kind))
    throw new UserError(`${kind} runs in one process, and here are ${world.size}.`, {
      code: "CONFIG",
      hint: `Several processes can do: ${TOGETHER.join(", ")}.`,
    });
  const device = resolveDevice(ownDevice(config.device ?? "cpu", world, process.env));
  const context = { signal, device, world, onPhase };
  if (typeof run !== "string") return { run, ...context, [Symbol.dispose]: () => {} };
  const opened =
    world.rank === 0
      ? Run.open(run, { ...runSettings(kind, schema, config), engine: engineFacts() })
      : Run.follow(run);
  return { run: opened, ...context, [Symbol.dispose]: () => opened.close() };
}

/** What a run of a recipe is opened with. schema: of its config, which says what in it are paths. */
export const runSettings = (kind: string, schema: z.ZodType, config: object): RunSettings => ({
  kind,
  config,
  mapPaths: pathsOf(schema),
  mayChange: mayChange(kind),
});

/** Why a training ended after its checkpoint, where its folder was asked that by somebody who watches it. */
export class StopAsked extends Error {
  override readonly name = "StopAsked";
}

/** What to do after a step beside what is due. */
export interface Asked {
  sample: boolean;
  save: boolean;
  /** By a request, or by the signal of any process. */
  stop: boolean;
}

/**
 * What the run was asked since the last call. All processes ask at the same place, so that all do it after the same step; rank 0 alone
 * reads the run's folder.
 */
export async function requestsNow({
  run,
  world,
  signal,
}: Pick<RecipeContext, "run" | "world" | "signal">): Promise<Asked> {
  const mine = { requests: run.takeRequests(), isStopping: signal.aborted };
  const all = await world.gather(mine);
  const requests = all.flatMap((each) => each.requests);
  return {
    sample: requests.includes("sample"),
    save: requests.includes("save"),
    stop: requests.includes("stop") || all.some(({ isStopping }) => isStopping),
  };
}

/** Ends a recipe that is stopping: throws the signal's reason, or a StopAsked. */
export function stop({ signal }: Pick<RecipeContext, "signal">): never {
  signal.throwIfAborted();
  throw new StopAsked(
    "Stopped after a checkpoint, as its folder or another process of this training was asked.",
  );
}

/**
 * The device of one of several processes: of `cuda` each takes the GPU of its number on its machine, round those that it may see. Any other
 * name is taken as it is.
 */
export function ownDevice(
  name: string,
  { size, localRank }: Pick<World, "size" | "localRank">,
  { CUDA_VISIBLE_DEVICES: visible }: { CUDA_VISIBLE_DEVICES?: string },
): string {
  if (name !== "cuda" || size === 1) return name;
  return `cuda:${visible ? localRank % visible.split(",").length : localRank}`;
}
