// Signals, as of Ctrl-C: the first asks for a clean end, the second ends at once. SIGUSR1 is what Slurm sends before it takes the machine
// away (`--signal=USR1@120`), once.
import { redraws } from "./terminal.js";

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129, SIGUSR1: 138 } as const;

/** Why a run stopped before its end. */
export class Interruption extends Error {
  override readonly name = "Interruption";
  readonly exitCode: number;

  /** words: where it was not the signal itself, and the process ends as by that signal all the same. */
  constructor(signal: keyof typeof SIGNALS, words = `Stopped by ${signal}.`) {
    super(words);
    this.exitCode = SIGNALS[signal];
  }
}

const STOPPING = "stopping after this step";
const WORDS = `${STOPPING}; once more ends at once`;

/**
 * A signal that is aborted by SIGINT, SIGTERM, SIGHUP or SIGUSR1, which `say` tells. The next of the first three ends the process at once.
 *
 * answerSignals: the engine's, where steps are long. It prints the words, and ends the process, also during a step. Without it both wait
 * for the step's end.
 */
export function interruptible(
  say: (text: string) => void,
  answerSignals?: (words: string) => void,
): AbortSignal {
  const controller = new AbortController();
  const names = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[];
  const stop = (name: NodeJS.Signals): void => {
    controller.abort(new Interruption(name as keyof typeof SIGNALS));
    const isLast = name === "SIGUSR1"; // of it no second one comes
    if (isLast) say(STOPPING);
    if (isLast || answerSignals) return;
    say(WORDS);
    // npm passes a Ctrl-C on to the script, which has had it from the terminal already. The two count as one.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    for (const each of names) process.removeListener(each, stop);
  };
  for (const name of names) process.on(name, stop);
  answerSignals?.(`${redraws(process.stderr) ? "\r\x1b[2K" : ""}${WORDS}\n`);
  return controller.signal;
}
