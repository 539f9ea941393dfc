// @ts-check
import { readFileSync } from "node:fs";
import { liveTensors } from "@spo/torch";

/** What is alive once the garbage has been collected: tensors, and bytes of memory. Needs --expose-gc. */
export function alive() {
  globalThis.gc?.();
  globalThis.gc?.();
  return { live: liveTensors(), bytes: ownBytes() };
}

/** Bytes that no file backs: pages of libraries come and go as they are used and as the machine needs memory. */
function ownBytes() {
  if (process.platform !== "linux") return process.memoryUsage.rss();
  const [, kilobytes] = /^Anonymous: +(\d+) kB/m.exec(readFileSync("/proc/self/smaps_rollup", "utf8")) ?? [];
  return 1024 * Number(kilobytes);
}
