// What the server tells, asked for and kept up with.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Fault, LiveState } from "../src/api.ts";

/** An answer, or what is wrong; while it is asked for again the old one stays. */
export interface Remote<T> {
  value?: T;
  fault?: Fault;
}

/** Asks the server. Throws a Fault. */
export const ask = <T>(path: string, signal?: AbortSignal): Promise<T> => answerTo(path, { signal });

/** Changes something on the server, whose answer it gives. Throws a Fault. */
export const tell = <T>(method: "POST" | "PUT", path: string, body: unknown): Promise<T> =>
  answerTo(path, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

async function answerTo<T>(path: string, request: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw {
      code: "ENVIRONMENT",
      message: "Studio does not answer.",
      hint: "Is `npx spo studio` still running?",
    } satisfies Fault;
  }
  if (response.ok) return (await response.json()) as T;
  throw (await response.json()) as Fault;
}

/** The answer to a path, asked for again when `version` changes; undefined: nothing is asked for. */
export function useRemote<T>(path: string | undefined, version: unknown = 0): Remote<T> {
  const [state, setState] = useState<Remote<T> & { path?: string }>({});
  useEffect(() => {
    if (path === undefined) return;
    const stop = new AbortController();
    ask<T>(path, stop.signal).then(
      (value) => setState({ value, path }),
      (fault: Fault) => {
        if (!stop.signal.aborted) setState((before) => ({ ...before, fault, path }));
      },
    );
    return () => stop.abort();
  }, [path, version]);
  return state.path === path ? state : { value: undefined, fault: undefined };
}

/** A number that grows every so often, while the page is seen. */
export function useTicks(everyMs: number): number {
  const [ticks, setTicks] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setTicks((n) => n + 1);
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return ticks;
}

/** What a run's stream says. */
export interface LiveRun {
  /** Grows when the log has grown, at most once a second. */
  version: number;
  now?: LiveState;
  /** Whether the stream is open; "closed" when it will not open again. */
  link: "open" | "lost" | "closed";
}

const LEAST_MS = 1000;

/**
 * Follows a run from a mark of its log, while the page is seen: a browser opens six connections to a server at a time, and hidden tabs
 * would take them all.
 */
export function useLiveRun(id: string, mark: string | undefined): LiveRun {
  const [live, setLive] = useState<LiveRun>({ version: 0, link: "open" });
  const known = useRef<string | undefined>(undefined);
  known.current ??= mark;
  const hasMark = known.current !== undefined;
  useEffect(() => {
    if (!hasMark) return;
    let source: EventSource | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const grown = ({ lastEventId }: MessageEvent): void => {
      if (lastEventId !== "") known.current = lastEventId;
      timer ??= setTimeout(() => {
        timer = undefined;
        setLive((before) => ({ ...before, version: before.version + 1 }));
      }, LEAST_MS);
    };
    const open = (): void => {
      const opened = new EventSource(
        `/api/runs/${id}/events?from=${encodeURIComponent(known.current ?? "")}`,
      );
      source = opened;
      opened.addEventListener("log", grown);
      opened.addEventListener("anew", grown);
      opened.addEventListener("state", ({ data }) => {
        const now = JSON.parse(data) as LiveState;
        // A change of state has another page; what is done within it is told here.
        setLive((before) => ({
          ...before,
          now,
          version: before.version + Number(before.now?.state !== now.state),
        }));
      });
      opened.onopen = () => setLive((before) => ({ ...before, link: "open" }));
      opened.onerror = () =>
        setLive((before) => ({
          ...before,
          link: opened.readyState === EventSource.CLOSED ? "closed" : "lost",
        }));
    };
    const close = (): void => {
      source?.close();
      source = undefined;
    };
    const seen = (): void => {
      if (document.hidden) close();
      else if (!source) open();
    };
    seen();
    document.addEventListener("visibilitychange", seen);
    return () => {
      document.removeEventListener("visibilitychange", seen);
      clearTimeout(timer);
      close();
    };
  }, [id, hasMark]);
  return live;
}
