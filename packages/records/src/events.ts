import { UserError } from "@spo/torch/files";
import { z } from "zod";
import { PASSES } from "./passes.js";
import { parseRecord } from "./read-record.js";

/** Sample passes by kind: how many images or latents went through which network. The unit of counted work. */
export const Passes = z.partialRecord(z.enum(PASSES), z.int().min(0));
export type Passes = z.output<typeof Passes>;

/** Seconds of one phase: elapsed, and of all cores together. */
const Phase = z.object({ wall: z.number(), cpu: z.number() });

/** What differs between two runs of the same config. It stands apart, so that the rest can be compared bit for bit. */
const Time = z.object({
  at: z.string(),
  /** Seconds since this process opened the run. */
  wall: z.number(),
  cpu: z.number(),
  phases: z.record(z.string(), Phase).optional(),
  /** Of several processes: seconds that each computed, by rank. */
  ranks: z.array(z.number()).optional(),
  /** Resident memory, bytes. */
  rss: z.number().optional(),
});

/** JSON has no NaN: it stands as null. */
const Metrics = z.record(z.string(), z.number().nullable());

/** Paths are relative to the run's folder and use `/`. */
const File = z.string();

const Fact = z.union([z.string(), z.number()]);

/** One line of `events.jsonl`. */
export const Event = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("start"),
    kind: z.string(),
    time: Time,
    engine: z.record(z.string(), z.string()).optional(),
    /** The current folder, relative to the run's: paths in a config of an earlier version are counted from it. */
    from: z.string().optional(),
  }),
  z.object({ type: z.literal("resume"), step: z.int(), time: Time }),
  z.object({
    type: z.literal("phase"),
    name: z.string(),
    done: z.number(),
    /** 0 where there is nothing to count. */
    total: z.number(),
    /** How many times more the phase comes in this training. */
    left: z.int().min(0).optional(),
    time: Time,
  }),
  z.object({
    type: z.literal("step"),
    step: z.int(),
    total: z.int(),
    metrics: Metrics,
    passes: Passes.optional(),
    time: Time,
  }),
  z.object({
    type: z.literal("comparisons"),
    step: z.int(),
    /** One for each timestep at which candidates were judged. */
    timesteps: z.array(
      z.object({
        timestep: z.number(),
        /** Comparisons, and those that gave a pair. */
        pairs: z.int(),
        valid: z.int(),
        /** Mean preference gap of best and worst. */
        margin: z.number().nullable(),
        /** Mean standard deviation of the scores of one x_t's candidates. */
        spread: z.number().nullable().optional(),
        /** Comparisons with a score that is not finite. */
        notFinite: z.int().optional(),
        /** Pairs that are left out because the judges disagree. */
        doubtful: z.int().optional(),
      }),
    ),
    time: Time,
  }),
  z.object({
    /** What the updates of a round found of its pairs. */
    type: z.literal("pairs"),
    step: z.int(),
    /** One for each timestep that gave pairs. */
    timesteps: z.array(
      z.object({
        timestep: z.number(),
        pairs: z.int(),
        /** Share of pairs whose winner the policy makes likelier, relative to the reference, than the loser. */
        accuracy: z.number().nullable(),
        /** Mean |log p_θ − log p_ref| of both sides, before clipping. */
        logRatio: z.number().nullable(),
      }),
    ),
    time: Time,
  }),
  z.object({
    type: z.literal("candidates"),
    step: z.int(),
    prompt: z.string(),
    /** What one prompt's candidates were at each judged timestep. `next` is absent after the last one. */
    rows: z.array(
      z.object({
        timestep: z.number(),
        files: z.array(File),
        scores: z.array(z.number()),
        win: z.int(),
        lose: z.int(),
        valid: z.boolean(),
        next: z.int().optional(),
      }),
    ),
    time: Time,
  }),
  z.object({
    type: z.literal("sample"),
    step: z.int(),
    images: z.array(
      z.object({
        file: File,
        prompt: z.string(),
        seed: z.int(),
        /** The judge's; absent where there is none, or it is not finite. */
        score: z.number().optional(),
      }),
    ),
    /** Drawn because somebody asked: nothing is decided by it. */
    asked: z.literal(true).optional(),
    time: Time,
  }),
  z.object({ type: z.literal("eval"), step: z.int(), metrics: Metrics, time: Time }),
  z.object({
    type: z.literal("guard"),
    step: z.int(),
    action: z.enum(["stop", "lower"]),
    /** The step whose weights are the best. */
    best: z.int(),
    reason: z.string(),
    time: Time,
  }),
  z.object({ type: z.literal("checkpoint"), step: z.int(), folder: File, time: Time }),
  z.object({ type: z.literal("warn"), message: z.string(), time: Time }),
  z.object({
    type: z.literal("data"),
    /** Numbers and digests of what the run reads: other values mean other data. */
    facts: z.record(z.string(), Fact),
    time: Time,
  }),
  z.object({
    type: z.literal("settings"),
    step: z.int(),
    /** Settings that a run took up on the way, by dotted name. */
    changes: z.record(z.string(), z.object({ from: z.unknown(), to: z.unknown() })),
    time: Time,
  }),
  z.object({ type: z.literal("done"), result: z.record(z.string(), z.unknown()), time: Time }),
]);
/** One line of a run's `events.jsonl`. */
export type Event = z.output<typeof Event>;

type WithoutTime<E> = E extends unknown ? Omit<E, "time"> : never;
/** An event before it is recorded; `phases` and `ranks` go into its time. */
export type EventBody = WithoutTime<Event> & {
  phases?: Record<string, { wall: number; cpu: number }>;
  ranks?: number[];
};

/**
 * Events of a log. A half line at the end (a killed writer) is ignored; any other line that is no event is an error.
 *
 * Throws a UserError (`DATA`) that names the line.
 */
export function parseEvents(text: string, name = "the event log"): Event[] {
  return wholeLines(text).map((line, i) => {
    try {
      return parseRecord(line, Event);
    } catch (error) {
      throw new UserError(`${name}: line ${i + 1} is damaged: ${(error as Error).message}`, {
        code: "DATA",
        cause: error,
      });
    }
  });
}

/** As `parseEvents`, but damaged lines are skipped and reported: for showing a run, not for resuming it. */
export function salvageEvents(text: string): { events: Event[]; faults: string[] } {
  const events: Event[] = [];
  const faults: string[] = [];
  for (const [i, line] of wholeLines(text).entries()) {
    try {
      events.push(parseRecord(line, Event));
    } catch (error) {
      faults.push(`line ${i + 1}: ${(error as Error).message}`);
    }
  }
  return { events, faults };
}

/**
 * What must be equal, bit for bit, in a run that was stopped and resumed and one that was not: everything that was computed, without
 * times, starts, stops and saves.
 */
export function computedPart(events: readonly Event[]): EventBody[] {
  return events
    .filter(
      ({ type }) => !["start", "resume", "checkpoint", "phase", "warn", "data", "settings"].includes(type),
    )
    .map(({ time: _, ...rest }) => rest);
}

/** Lines that were written to their end. What stands behind the last line end is nothing, or a half line. */
const wholeLines = (text: string): string[] => text.split("\n").slice(0, -1);
