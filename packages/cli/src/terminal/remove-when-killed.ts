// Removes half-written files of work that a signal ends while it computes: a second process waits for its end.
import { spawn } from "node:child_process";
import { resolve } from "node:path";

/** Runs in the second process, with the path as its argument: its input ends when the first process does. */
const WAITS = `
  const { existsSync, rmSync } = require("node:fs");
  const path = process.argv[1];
  process.stdin.resume().on("end", () => {
    if (!existsSync(path)) return;
    rmSync(path, { recursive: true, force: true });
    process.stderr.write("stopped: nothing half-written is left; the same command begins anew\\n");
  });
`;

/**
 * Has a file or folder removed if this process is ended by a signal before the scope is, SIGKILL included, and says so on stderr.
 *
 * For work without a pause in which JavaScript could handle the signal; for other work see `interruptible`.
 */
export function removeWhenKilled(path: string): Disposable {
  // In a session of its own, because a Ctrl-C in the terminal reaches a whole process group.
  const waiting = spawn(process.execPath, ["-e", WAITS, resolve(path)], {
    detached: true,
    stdio: ["pipe", "ignore", "inherit"],
  });
  waiting.on("error", () => {}); // without a second process, the next conversion removes what is left
  waiting.unref();
  return { [Symbol.dispose]: () => void waiting.kill("SIGKILL") };
}
