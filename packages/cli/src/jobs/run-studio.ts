// Studio until it is stopped. No engine: runs that were copied from elsewhere are shown on any machine.
import { spawn } from "node:child_process";
import { grouped, settingsOf } from "@spo/records/config";
import { type JobsAllowed, type Presets, type Served, serve } from "@spo/studio";
import { UserError } from "@spo/torch/files";
import { dpoPresets, spmPresets, spoPresets } from "spo/presets";
import { mayChange, SCHEMAS } from "spo/schemas";
import type { CommonOptions } from "../options/common-options.js";
import { put, putJson, say } from "../terminal/terminal.js";
import { prepareTaste, TASTE_SET, tasteWords } from "./taste-demo.js";

/** Where Studio listens unless told otherwise. */
const PORT = 7766;

export interface StudioCommandOptions extends CommonOptions {
  port?: number;
  host: string;
  trustHost?: string[];
  votesPerPair: number;
  repeatShare: number;
  goldShare: number;
  allowStart?: boolean;
  train?: string;
  demo?: "taste";
  open: boolean;
}

/** Serves a folder of runs until SIGINT, SIGTERM or SIGHUP. */
export async function runStudio(
  folder: string,
  { port, host, trustHost, allowStart, open, json, quiet, ...more }: StudioCommandOptions,
): Promise<void> {
  const { votesPerPair, repeatShare, goldShare, train, demo } = more;
  if (demo) await prepareTaste(folder);
  const words = train?.split(/\s+/).filter(Boolean) ?? (demo && tasteWords());
  const presets = { "train spm": spmPresets, "train spo": spoPresets, "train dpo": dpoPresets };
  const options = {
    runs: folder,
    host,
    hosts: trustHost,
    presets,
    jobs: allowStart || words ? jobsOf(allowStart ? presets : {}, words) : undefined,
    judging: { votesPerPair, repeatShare, goldShare },
    judgeFirst: demo && TASTE_SET,
  };
  const end = stopped(); // from now on: a program may end it as soon as it has read the line
  const served = port === undefined ? await serveWherePossible(options) : await serve({ ...options, port });
  const { url, token } = served;
  if (served.isPublic)
    say(
      `warning: other machines can reach Studio at ${host}. Whoever has the address with its token sees all runs.`,
    );
  if (json) putJson({ schema: "spo.studio/1", url, token });
  else put(url);
  if (!quiet && !json) say("Ctrl-C ends Studio. The token in the address is for you alone.");
  if (open && !json && process.stdout.isTTY) openBrowser(url);
  await end;
  await served.close();
}

/** Trainings by this command, in processes of their own. presets: of the kinds that have a form. votes: options of those on votes. */
function jobsOf(presets: Presets, votes?: readonly string[]): JobsAllowed {
  const kinds = Object.entries(presets).map(([kind, ofKind]) => {
    // The command puts the result into the run's folder.
    const settings = grouped(
      settingsOf(SCHEMAS[kind as keyof typeof SCHEMAS]).filter(({ path }) => path !== "output"),
    ).flatMap(({ heading, settings: some }) => some.map((setting) => ({ ...setting, heading })));
    return [kind, { settings, presets: ofKind, length: mayChange(kind).length }];
  });
  return {
    command: [process.execPath, ...process.execArgv, process.argv[1] as string],
    kinds: Object.fromEntries(kinds) as JobsAllowed["kinds"],
    votes,
  };
}

/** At the usual port, or at a free one. */
async function serveWherePossible(options: Parameters<typeof serve>[0]): Promise<Served> {
  try {
    return await serve({ ...options, port: PORT });
  } catch (error) {
    const { code } = ((error as UserError).cause ?? {}) as NodeJS.ErrnoException;
    if (!(error instanceof UserError) || code !== "EADDRINUSE") throw error;
    return serve({ ...options, port: 0 });
  }
}

const stopped = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve());
  });

/** Opens the address where the system has a program for it; without one, the address is on the terminal. */
function openBrowser(url: string): void {
  const [program, ...words] =
    process.platform === "darwin"
      ? ["open", url]
      : process.platform === "win32"
        ? ["cmd", "/c", "start", "", url]
        : ["xdg-open", url];
  spawn(program as string, words, { stdio: "ignore", detached: true })
    .on("error", () => {}) // it is not there
    .unref();
}
