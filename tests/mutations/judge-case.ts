// Whether reading a case went as it should: read, or refused in words, within bounds of time and memory.
import { forgetPeak, peakBytes, UserError } from "@spo/torch";
import type { Outcome } from "./kind.js";

/** Seconds of processor time that one case may take, all threads together. */
export const CPU_SECONDS = 5;
/** Memory that one case may take beside the size of its files, bytes. */
export const MEMORY = 256 * 2 ** 20;

/** seconds: of the processor. */
export type Verdict = ({ outcome: Outcome } | { fault: string }) & { seconds?: number };

/** Words of the language's own faults, and of what was printed without a look: no user can mend these. */
const NOT_FOR_USERS =
  /Cannot (read|set|convert|destructure)|is not a function|is not iterable|is not a constructor|\[object \w+\]|undefined|Invalid (array|string) length|call stack|^\s+at .*:\d+:\d+/m;

/** Runs a reader over `size` bytes of files and judges how it ends. */
export async function judgeCase(read: () => unknown, size: number): Promise<Verdict> {
  const before = process.memoryUsage.rss();
  const cpu = process.cpuUsage();
  forgetPeak();
  let verdict: Verdict;
  try {
    verdict = { outcome: (await read()) === "refused" ? "refused" : "read" };
  } catch (error) {
    verdict = verdictOf(error);
  }
  const { user, system } = process.cpuUsage(cpu);
  const seconds = (user + system) / 1e6;
  const grown = peakBytes() - before;
  if ("fault" in verdict) return { ...verdict, seconds };
  if (seconds > CPU_SECONDS) return { fault: `${seconds.toFixed(1)} s of processor time` };
  if (grown > size + MEMORY)
    return { fault: `${Math.round(grown / 2 ** 20)} MiB of memory for ${size} bytes` };
  const added = Object.keys(Object.prototype);
  for (const name of added) delete (Object.prototype as unknown as Record<string, unknown>)[name];
  return added.length > 0 ? { fault: `every object now has ${added.join(", ")}` } : { ...verdict, seconds };
}

function verdictOf(error: unknown): Verdict {
  if (!(error instanceof UserError))
    return { fault: error instanceof Error ? (error.stack ?? String(error)) : String(error) };
  const text = `${error.message}\n${error.hint ?? ""}`;
  const odd = NOT_FOR_USERS.exec(text)?.[0];
  if (error.message.trim() === "" || odd !== undefined)
    return { fault: `refused, but with these words (${odd ?? "none"}): ${text}\n${causeOf(error)}` };
  return { outcome: "refused" };
}

const causeOf = ({ cause, stack }: Error): string =>
  cause instanceof Error ? (cause.stack ?? "") : (stack ?? "");
