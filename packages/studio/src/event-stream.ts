// A run's log as server-sent events. Each has the mark of its place as its ID, so that a browser that comes back misses none.
import type { SSEStreamingApi } from "hono/streaming";
import { LogCursor } from "./runs/log-cursor.js";

/** Between two looks at the log. */
const LOOK_MS = 500;
/** A proxy closes a connection on which nothing is sent. */
const SIGN_MS = 15_000;

/** What is streamed beside the log. */
export interface Streamed {
  path: string;
  /** The mark that the reader knows the log to. */
  mark?: string;
  /** What a process does now, as text: sent when it changes. */
  state: () => string;
  /** Aborted when the server ends. */
  signal: AbortSignal;
}

/**
 * Sends `log` for each line, `anew` where the log is not the one that the reader knew, and `state`, until the reader goes or the server
 * ends.
 */
export async function streamLog(
  stream: SSEStreamingApi,
  { path, mark, state, signal }: Streamed,
): Promise<void> {
  const cursor = new LogCursor(path, mark);
  const end = new AbortController();
  stream.onAbort(() => end.abort());
  const stop = (): void => end.abort();
  signal.addEventListener("abort", stop);
  let told: string | undefined;
  let quietSince = performance.now();
  const send = async (event: string, data: string, id?: string): Promise<void> => {
    await stream.writeSSE({ event, data, id });
    quietSince = performance.now();
  };
  try {
    while (!end.signal.aborted && !signal.aborted) {
      const { anew, lines, atEnd } = cursor.read();
      if (anew) await send("anew", "");
      for (const { text, mark: place } of lines) {
        if (end.signal.aborted) return;
        await send("log", text, place());
      }
      const now = state();
      if (now !== told) await send("state", now);
      told = now;
      if (performance.now() - quietSince > SIGN_MS) await send("alive", "");
      if (atEnd) await pause(LOOK_MS, end.signal);
    }
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
  });
}
