// A run's events as TensorBoard reads them. Nothing depends on it, so what goes wrong with it is passed over.
import { appendFileSync, mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Event } from "./events.js";
import { fileOfRun } from "./read-record.js";
import { type TfValue, tfFileStart, tfSessionStart, tfSummary } from "./tf-events.js";

/** Its folder in a run's. */
export const TENSORBOARD = "tensorboard";

/** Steps of updates and of measurements count differently, so they are two of TensorBoard's runs. */
const [UPDATES, MEASUREMENTS] = ["updates", "measurements"] as const;
const MOST_IMAGE = 20e6;

/** Files that one process adds to. */
export class TensorboardLog {
  readonly #folder: string;
  readonly #run: string;
  readonly #files = new Map<string, string>();
  /** By file, the step that this process begins at. */
  readonly #next: Readonly<Record<string, number>>;
  #updates: number;
  #isBroken = false;

  /**
   * run: the folder of the run, whose pictures are read. before: what its log says already; anything later that an earlier process wrote is
   * void. folder: where the files go; default: inside.
   */
  constructor(
    run: string,
    { before = [], folder = join(run, TENSORBOARD) }: { before?: readonly Event[]; folder?: string } = {},
  ) {
    this.#run = run;
    this.#folder = folder;
    this.#updates = before.filter(({ type }) => type === "step").length;
    const measured = before.flatMap((event) =>
      event.type === "eval" || event.type === "sample" ? [event.step] : [],
    );
    this.#next = { [UPDATES]: this.#updates + 1, [MEASUREMENTS]: Math.max(-1, ...measured) + 1 };
  }

  /** Whether an event has something to show. */
  static shows({ type }: Event): boolean {
    return type === "step" || type === "eval" || type === "sample";
  }

  /** Writes what an event has to show. */
  add(event: Event): void {
    const at = Date.parse(event.time.at) / 1000;
    if (event.type === "step") this.#write(UPDATES, tfSummary(at, ++this.#updates, scalars(event.metrics)));
    else if (event.type === "eval")
      this.#write(MEASUREMENTS, tfSummary(at, event.step, scalars(event.metrics)));
    else if (event.type === "sample") this.#addSamples(event, at);
  }

  #addSamples({ step, images }: Extract<Event, { type: "sample" }>, at: number): void {
    const values = images.flatMap(({ file, prompt }, i): TfValue[] => {
      try {
        const png = fileOfRun(this.#run, file, MOST_IMAGE);
        return png ? [{ tag: `sample ${i}: ${prompt}`, png, ...sizeOf(png) }] : [];
      } catch {
        return []; // gone meanwhile
      }
    });
    if (values.length > 0) this.#write(MEASUREMENTS, tfSummary(at, step, values));
  }

  #write(name: string, record: Uint8Array): void {
    if (this.#isBroken) return;
    try {
      appendFileSync(this.#fileOf(name), record);
    } catch {
      this.#isBroken = true; // a full disk is told of by what must be written
    }
  }

  #fileOf(name: string): string {
    const known = this.#files.get(name);
    if (known !== undefined) return known;
    const folder = join(this.#folder, name);
    mkdirSync(folder, { recursive: true });
    const seconds = Math.floor(Date.now() / 1000);
    const file = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}`);
    appendFileSync(file, tfFileStart(seconds));
    appendFileSync(file, tfSessionStart(seconds, this.#next[name] as number));
    this.#files.set(name, file);
    return file;
  }
}

const scalars = (metrics: Readonly<Record<string, number | null>>): TfValue[] =>
  Object.entries(metrics).map(([tag, value]) => ({ tag, value: value ?? Number.NaN }));

/** From the head of a PNG. */
function sizeOf(png: Uint8Array): { width: number; height: number } {
  const head = new DataView(png.buffer, png.byteOffset, png.byteLength);
  return { width: head.getUint32(16), height: head.getUint32(20) };
}
