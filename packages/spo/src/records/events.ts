import { z } from "zod";

/** Sample passes by kind: how many images or latents went through which network. The unit of counted work. */
export const Passes = z.partialRecord(
  z.enum(["unetSampling", "unetPolicy", "unetReference", "unetBackward", "vaeEncode", "vaeDecode", "judgeImage", "judgeText", "judgeBackward"]),
  z.int().min(0),
);
export type Passes = z.output<typeof Passes>;

/** Seconds of one phase: elapsed, and of all cores together. */
const Phase = z.object({ wall: z.number(), cpu: z.number() });

/** What differs between two runs of the same config: it stands apart, so that everything else can be compared bit for bit. */
const Time = z.object({ at: z.string(), wall: z.number(), cpu: z.number(), phases: z.record(z.string(), Phase).optional(), rss: z.number().optional() });

const Metrics = z.record(z.string(), z.union([z.number(), z.null()]));

export const Event = z.discriminatedUnion("type", [
  z.object({ type: z.literal("start"), kind: z.string(), time: Time, engine: z.record(z.string(), z.string()).optional() }),
  z.object({ type: z.literal("resume"), step: z.int(), time: Time }),
  z.object({ type: z.literal("phase"), name: z.string(), done: z.number(), total: z.number(), time: Time }),
  z.object({ type: z.literal("step"), step: z.int(), total: z.int(), metrics: Metrics, passes: Passes.optional(), time: Time }),
  z.object({
    type: z.literal("comparisons"),
    step: z.int(),
    /** One for each timestep at which candidates were judged. */
    timesteps: z.array(z.object({ timestep: z.int(), pairs: z.int(), valid: z.int(), margin: z.number() })),
    time: Time,
  }),
  z.object({ type: z.literal("eval"), step: z.int(), metrics: Metrics, time: Time }),
  z.object({ type: z.literal("checkpoint"), step: z.int(), folder: z.string(), time: Time }),
  z.object({ type: z.literal("warn"), message: z.string(), time: Time }),
  z.object({ type: z.literal("done"), result: z.record(z.string(), z.unknown()), time: Time }),
]);
/** One line of a run's `events.jsonl`. */
export type Event = z.output<typeof Event>;

type WithoutTime<E> = E extends unknown ? Omit<E, "time"> : never;
export type EventBody = WithoutTime<Event> & { phases?: Record<string, { wall: number; cpu: number }> };

/**
 * Events of a log. A half line at the end (a killed writer) is ignored; any other line that is no event is an error.
 *
 * Throws a SyntaxError that names the line.
 */
export function parseEvents(text: string): Event[] {
  const lines = text.split("\n");
  lines.pop(); // what stands behind the last line end: nothing, or a half line
  return lines.map((line, i) => {
    try {
      return Event.parse(JSON.parse(line));
    } catch (error) {
      throw new SyntaxError(`line ${i + 1} of the event log is damaged: ${(error as Error).message}`);
    }
  });
}
