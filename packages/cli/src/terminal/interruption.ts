// Ctrl-C and its kin: the first asks for a clean end, the second ends at once.

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Why a run stopped before its end. */
export class Interruption extends Error {
  override readonly name = "Interruption";
  readonly exitCode: number;

  constructor(signal: keyof typeof SIGNALS) {
    super(`Stopped by ${signal}.`);
    this.exitCode = SIGNALS[signal];
  }
}

/**
 * A signal that is aborted by SIGINT, SIGTERM or SIGHUP. After the first of them the system's own handling is back: the next one ends the
 * process at once, even in the middle of a step.
 */
export function interruptible(say: (text: string) => void): AbortSignal {
  const controller = new AbortController();
  const names = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[];
  const stop = (name: NodeJS.Signals): void => {
    controller.abort(new Interruption(name as keyof typeof SIGNALS));
    say("stopping after this step; once more ends at once");
    // npm passes a Ctrl-C on to the script that has had it from the terminal already. Both are one wish.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    for (const each of names) process.removeListener(each, stop);
  };
  for (const name of names) process.on(name, stop);
  return controller.signal;
}
