// What the list says of a run, from the first and the last lines of its log: a list of thousands must not read them whole.
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { Event, runWriter } from "@spo/records";
import type { RunState, RunSummary } from "../api.js";
import type { FoundRun } from "./find-runs.js";
import { readNotes } from "./run-notes.js";

/** Bytes that are read at either end; at the last end more, where no step is among them. */
const PARTS = [4096, 65_536, 1 << 20] as const;

/** What the log's ends say; the same as long as the log is. */
interface LogEnds {
  /** Size and time of the log that was read. */
  of: string;
  kind: string;
  step: number;
  total: number;
  began: string;
  changed: string;
  isDone: boolean;
  fault?: string;
}

/** Summaries of runs; a log is read again only when it has changed. */
export class RunSummaries {
  readonly #ends = new Map<string, LogEnds>();

  /** Whether a process is at work is asked anew each time. */
  of({ id, name, folder, hasNotes }: FoundRun): RunSummary {
    const { of: _, isDone, ...ends } = this.#endsOf(id, join(folder, "events.jsonl"));
    const state = ends.fault && !ends.began ? "damaged" : stateOf(folder, isDone);
    return { id, name, ...ends, state, tags: hasNotes ? readNotes(folder).tags : [] };
  }

  /** Forgets runs that are not there any more. */
  keep(ids: ReadonlySet<string>): void {
    for (const id of this.#ends.keys()) if (!ids.has(id)) this.#ends.delete(id);
  }

  #endsOf(id: string, path: string): LogEnds {
    const found = statSync(path, { throwIfNoEntry: false });
    const of = found ? `${found.size} ${found.mtimeMs}` : "gone";
    const known = this.#ends.get(id);
    if (known?.of === of) return known;
    const ends = { of, ...readEnds(path, found?.size ?? 0) };
    this.#ends.set(id, ends);
    return ends;
  }
}

/** What a run is at. isDone: its log ends with its result. */
export function stateOf(folder: string, isDone: boolean): RunState {
  const writer = runWriter(folder);
  if (typeof writer === "object") return "running";
  if (isDone) return "finished";
  return writer === "killed" ? "killed" : "stopped";
}

function readEnds(path: string, size: number): Omit<LogEnds, "of"> {
  const nothing = { kind: "", step: 0, total: 0, began: "", changed: "", isDone: false };
  let lines: EndLines;
  try {
    lines = linesAtEnds(path, size);
  } catch (error) {
    return { ...nothing, fault: `its log cannot be read (${(error as NodeJS.ErrnoException).code})` };
  }
  const start = glimpse(lines.first);
  if (!start) return { ...nothing, fault: "its log does not begin with an event that this version knows" };
  const newest = glimpse(lines.newest);
  const step = glimpse(lines.step);
  return {
    kind: start.type === "start" ? (start.kind ?? "") : "",
    step: step?.step ?? 0,
    total: step?.total ?? 0,
    began: start.at,
    changed: newest?.at ?? step?.at ?? start.at,
    isDone: newest?.type === "done",
    ...(!newest && { fault: "the newest line of its log is damaged, or of a newer version" }),
  };
}

/** What the list takes of an event. */
interface Glimpse {
  type: string;
  at: string;
  kind?: string;
  step?: number;
  total?: number;
}

/** Of events that this version knows. */
const TYPES: ReadonlySet<string> = new Set(Event.options.map(({ shape }) => shape.type.value));

/**
 * That of a line; undefined where it is no event. By hand: the schema of all events takes ten times as long, and a list of ten thousand runs
 * has to be there in a second.
 */
function glimpse(line: string | undefined): Glimpse | undefined {
  let event: Record<string, unknown>;
  try {
    event = JSON.parse(line ?? "") as Record<string, unknown>;
  } catch {
    return undefined;
  }
  const at = (event?.time as { at?: unknown } | undefined)?.at;
  if (typeof event?.type !== "string" || !TYPES.has(event.type) || typeof at !== "string") return undefined;
  const whole = (value: unknown): number | undefined =>
    Number.isSafeInteger(value) ? Number(value) : undefined;
  return {
    type: event.type,
    at,
    kind: typeof event.kind === "string" ? event.kind : undefined,
    step: whole(event.step),
    total: whole(event.total),
  };
}

/** Whole lines of a log: the first, the newest, and the newest of a step, if one is near the end. */
interface EndLines {
  first?: string;
  newest?: string;
  step?: string;
}

/** How an event of a step begins, as runs write it. */
const STEP = '{"type":"step",';

/** Where a small log is read to, over and over. */
const page = Buffer.alloc(PARTS[1]);

function linesAtEnds(path: string, size: number): EndLines {
  const file = openSync(path, "r");
  try {
    const read = (from: number, most: number): string[] => {
      const length = Math.min(most, size - from);
      const bytes = length <= page.length ? page : Buffer.alloc(length);
      return bytes
        .toString("utf8", 0, readSync(file, bytes, 0, length, from))
        .split("\n")
        .slice(0, -1);
    };
    const newestOf = (lines: readonly string[]): Omit<EndLines, "first"> => ({
      newest: lines.at(-1),
      step: lines.findLast((line) => line.startsWith(STEP)),
    });
    if (size <= page.length) {
      const lines = read(0, size);
      return { first: lines[0], ...newestOf(lines) };
    }
    const [first] = read(0, PARTS[0]);
    let found: EndLines = { first };
    for (const part of PARTS) {
      const from = Math.max(0, size - part);
      const lines = from === 0 ? read(0, part) : read(from, part).slice(1); // the first is cut
      found = { first, ...newestOf(lines) };
      if (found.step !== undefined || from === 0) break;
    }
    return found;
  } finally {
    closeSync(file);
  }
}
