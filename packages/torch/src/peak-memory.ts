// The peak of this process's resident memory.
import { readFileSync, writeFileSync } from "node:fs";

/** Resets the peak to what is resident now. Where the system cannot do that, the peak stays that of the whole process. */
export function forgetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // not Linux, or not allowed: the figure is then an upper bound
  }
}

/** The peak of resident memory, in bytes, since the process began or since {@link forgetPeak}. */
export function peakBytes(): number {
  try {
    const found = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"));
    if (found) return Number(found[1]) * 1024;
  } catch {
    // not Linux
  }
  return process.resourceUsage().maxRSS * 1024;
}
