// What a training did when, in Chrome's trace format: for chrome://tracing, Perfetto and speedscope.
import { appendFileSync, existsSync } from "node:fs";
import { dirname } from "node:path";
import { PHASE_SPANS, type PhaseSpan } from "@spo/records";
import { OperatorTimes } from "@spo/torch";

/** Operators that a step names, the dearest. */
const OPERATORS = 24;

/**
 * Until it is disposed of, writes each phase to a file with the memory that the process has at its end, and each step as a mark, with the
 * operators that took most of the time since the mark before. A file that is there is gone on with. The format's closing bracket may be
 * missing, so a killed training leaves a whole file.
 *
 * Of a GPU, whose work goes on behind the phase, it shows how long the CPU was at it. Source: Trace Event Format, JSON Array Format.
 */
export class TraceFile {
  readonly #path: string;
  #lines: string[] = [];
  readonly #operators = new OperatorTimes();
  readonly #listen = (span: unknown): void => this.#phase(span as PhaseSpan);

  constructor(path: string) {
    this.#path = path;
    if (!existsSync(path)) this.#lines.push("[");
    PHASE_SPANS.subscribe(this.#listen);
  }

  /** A step has ended: what was collected goes to the file. */
  step(step: number): void {
    const dearest = this.#operators.take().slice(0, OPERATORS);
    const operators = Object.fromEntries(
      dearest.map(({ name, calls, seconds }) => [name, { calls, cpuSeconds: Number(seconds.toFixed(6)) }]),
    );
    const ts = microseconds(performance.now());
    this.#add({ name: `step ${step}`, ph: "i", s: "p", ts, args: { operators } });
    this.#write();
  }

  [Symbol.dispose](): void {
    this.#operators[Symbol.dispose]();
    PHASE_SPANS.unsubscribe(this.#listen);
    if (existsSync(dirname(this.#path))) this.#write(); // a run that came to nothing takes its folder along
  }

  #phase({ name, start, end }: PhaseSpan): void {
    const [from, to] = [microseconds(start), microseconds(end)];
    this.#add({ name, ph: "X", ts: from, dur: to - from });
    this.#add({ name: "memory", ph: "C", ts: to, args: { resident: process.memoryUsage.rss() } });
  }

  #add(event: object): void {
    this.#lines.push(`${JSON.stringify({ ...event, pid: process.pid, tid: 1 })},`);
  }

  #write(): void {
    if (this.#lines.length > 0) appendFileSync(this.#path, `${this.#lines.join("\n")}\n`);
    this.#lines = [];
  }
}

/** Of the clock, not of the process: a training that goes on lies behind its beginning. */
const microseconds = (milliseconds: number): number =>
  Math.round(1e3 * (performance.timeOrigin + milliseconds));
