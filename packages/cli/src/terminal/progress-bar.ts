import { redraws, shown } from "./terminal.js";
import { visibleLine } from "./visible.js";

export interface Advance {
  stage: string;
  done: number;
  total: number;
  /** Short, for the end of the line. */
  detail?: string;
  /** What is being done just now, in place of the detail: `sampling, step 7 of 20`. */
  doing?: string;
  /** Seconds left; null: not known yet. Default: estimated from the part done so far. */
  left?: number | null;
}

interface Stage {
  name: string;
  began: number;
  /** What was done at the first report: a resumed stage does not start at 0. */
  first: number;
  last: Advance;
  /** When it was last written. */
  shown: number;
}

interface Sink {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

/** Between plain lines, where a line cannot be drawn again. */
const PLAIN_SECONDS = 20;
const REDRAW_SECONDS = 0.1;

/** One bar a stage: on a terminal a line that is drawn again, elsewhere a plain line now and then. */
export class ProgressBar {
  readonly #out: Sink;
  readonly #redraws: boolean;
  readonly #quiet: boolean;
  readonly #now: () => number;
  #stage?: Stage;

  constructor({
    out = process.stderr,
    quiet = false,
    now = () => performance.now() / 1000,
    env = process.env,
  }: { out?: Sink; quiet?: boolean; now?: () => number; env?: NodeJS.ProcessEnv } = {}) {
    this.#out = out;
    this.#quiet = quiet;
    this.#now = now;
    this.#redraws = redraws(out, env);
  }

  advance(advance: Advance): void {
    if (this.#stage?.name !== advance.stage) {
      this.end();
      this.#stage = {
        name: advance.stage,
        began: this.#now(),
        first: advance.done,
        last: advance,
        shown: Number.NEGATIVE_INFINITY,
      };
    }
    const stage = this.#stage as Stage;
    stage.last = advance;
    const wait = this.#redraws ? REDRAW_SECONDS : PLAIN_SECONDS;
    const isOver = advance.total > 0 && advance.done >= advance.total && advance.doing === undefined;
    if (this.#now() - stage.shown < wait || isOver) return;
    stage.shown = this.#now();
    this.#write(this.#redraws ? `\r\x1b[2K${this.#cut(this.#line())}` : `${this.#line()}\n`);
  }

  /** A line of words, above the bar; also when progress is not wanted. */
  say(text: string): void {
    this.#out.write(`${this.#redraws && this.#stage && !this.#quiet ? "\r\x1b[2K" : ""}${shown(text)}\n`);
    if (this.#stage) this.#stage.shown = Number.NEGATIVE_INFINITY;
  }

  /** Clears the bar before another stream writes, for example data on stdout; the next advance draws it again. */
  clear(): void {
    if (!this.#redraws || !this.#stage) return;
    this.#write("\r\x1b[2K");
    this.#stage.shown = Number.NEGATIVE_INFINITY;
  }

  /** Leaves the stage's last state standing. */
  end(): void {
    if (!this.#stage) return;
    this.#write(
      `${this.#redraws ? "\r\x1b[2K" : ""}${this.#redraws ? this.#cut(this.#line()) : this.#line()}\n`,
    );
    this.#stage = undefined;
  }

  #write(text: string): void {
    if (!this.#quiet) this.#out.write(text);
  }

  #cut(line: string): string {
    const width = this.#out.columns ?? 80;
    return line.length < width ? line : `${line.slice(0, Math.max(0, width - 2))}…`;
  }

  #line(): string {
    const { name, began, first, last } = this.#stage as Stage;
    const { done, total } = last;
    const spent = this.#now() - began;
    const detail = last.doing ?? last.detail;
    if (total === 0)
      return visibleLine([name, this.#redraws ? "" : clock(spent), detail].filter(Boolean).join("  "));
    const share = Math.min(1, done / total);
    const steady = done > first ? ((total - done) * spent) / (done - first) : undefined;
    const left = last.left === undefined ? steady : (last.left ?? undefined);
    const still = left === undefined ? "" : `${clock(left)} left`;
    const percent = `${String(Math.floor(100 * share)).padStart(3)} %`;
    // A plain line is read alone, so it has the progress, the time so far and the time left.
    const words = this.#redraws
      ? [`${barOf(share)} ${percent}`, share >= 1 ? clock(spent) : still]
      : [
          percent,
          `${Math.floor(done)} of ${total}`,
          [clock(spent), share >= 1 ? "" : still].filter(Boolean).join(", "),
        ];
    return visibleLine([name, ...words, detail].filter(Boolean).join("  "));
  }
}

function barOf(share: number, width = 20): string {
  const full = Math.round(width * share);
  return "█".repeat(full) + "░".repeat(width - full);
}

/** 75 → `1:15`, 3700 → `1:01:40`. */
export function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
