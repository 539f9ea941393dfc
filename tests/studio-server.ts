// Studio as its command starts it.
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { RunList, RunSummary } from "@spo/studio";
import { type Ended, type Started, startCli } from "./cli.js";

/** Studio at work. */
export interface StudioProcess extends Started {
  url: string;
  token: string;
  /** `http://127.0.0.1:PORT`. */
  origin: string;
  /** Asks it as a program does. */
  get: (path: string) => Promise<Response>;
  /** The runs that it lists. */
  runs: () => Promise<RunSummary[]>;
  /** Ends it by SIGTERM. */
  stop: () => Promise<Ended>;
}

/** Starts `spo studio` and waits until it listens. */
export async function startStudio(runs: string, ...more: string[]): Promise<StudioProcess> {
  const started = startCli(["studio", runs, "--port", "0", "--no-open", "--json", ...more]);
  const lines = createInterface({ input: started.process.stdout as NodeJS.ReadableStream });
  const [line] = await Promise.race([
    once(lines, "line"),
    started.ended.then(({ stderr }) => Promise.reject(new Error(stderr))),
  ]);
  const { url, token } = JSON.parse(line as string) as { url: string; token: string };
  const { origin } = new URL(url);
  const get = (path: string): Promise<Response> =>
    fetch(`${origin}${path}`, { headers: { authorization: `Bearer ${token}` } });
  const runList = async (): Promise<RunSummary[]> =>
    ((await (await get("/api/runs")).json()) as RunList).runs;
  const stop = (): Promise<Ended> => {
    started.process.kill("SIGTERM");
    return started.ended;
  };
  return { ...started, url, token, origin, get, runs: runList, stop };
}
