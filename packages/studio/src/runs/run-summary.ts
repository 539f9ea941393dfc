// What the list says of a run, from the first and the last lines of its log: a list of thousands must not read them whole.
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Event, runWriter, salvageEvents } from "@spo/records";
import type { RunState, RunSummary } from "../api.js";
import type { FoundRun } from "./find-runs.js";

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
  of({ id, name, folder }: FoundRun): RunSummary {
    const { of: _, isDone, ...ends } = this.#endsOf(id, join(folder, "events.jsonl"));
    return { id, name, ...ends, state: ends.fault && !ends.began ? "damaged" : stateOf(folder, isDone) };
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
    const ends = { of, ...readEnds(path) };
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

function readEnds(path: string): Omit<LogEnds, "of"> {
  const nothing = { kind: "", step: 0, total: 0, began: "", changed: "", isDone: false };
  let lines: EndLines;
  try {
    lines = linesAtEnds(path);
  } catch (error) {
    return { ...nothing, fault: `its log cannot be read (${(error as NodeJS.ErrnoException).code})` };
  }
  const start = eventOf(lines.first);
  if (!start) return { ...nothing, fault: "its log does not begin with an event that this version knows" };
  const newest = eventOf(lines.newest);
  const step = eventOf(lines.step);
  return {
    kind: start.type === "start" ? start.kind : "",
    step: step?.type === "step" ? step.step : 0,
    total: step?.type === "step" ? step.total : 0,
    began: start.time.at,
    changed: (newest ?? step ?? start).time.at,
    isDone: newest?.type === "done",
    ...(!newest && { fault: "the newest line of its log is damaged, or of a newer version" }),
  };
}

const eventOf = (line: string | undefined): Event | undefined =>
  line === undefined ? undefined : salvageEvents(`${line}\n`).events[0];

/** Whole lines of a log: the first, the newest, and the newest of a step, if one is near the end. */
interface EndLines {
  first?: string;
  newest?: string;
  step?: string;
}

/** How an event of a step begins, as runs write it. */
const STEP = '{"type":"step",';

function linesAtEnds(path: string): EndLines {
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    const read = (from: number, most: number): string[] => {
      const bytes = Buffer.alloc(Math.min(most, size - from));
      return bytes
        .toString("utf8", 0, readSync(file, bytes, 0, bytes.length, from))
        .split("\n")
        .slice(0, -1);
    };
    const [first] = read(0, PARTS[0]);
    let found: EndLines = { first };
    for (const part of PARTS) {
      const from = Math.max(0, size - part);
      const lines = from === 0 ? read(0, part) : read(from, part).slice(1); // the first is cut
      found = { first, newest: lines.at(-1), step: lines.findLast((line) => line.startsWith(STEP)) };
      if (found.step !== undefined || from === 0) break;
    }
    return found;
  } finally {
    closeSync(file);
  }
}
