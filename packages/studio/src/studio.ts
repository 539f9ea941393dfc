// The server as a function from a request to its answer.
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileOfRun, readActivity, UserError } from "@spo/records";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { getCookie, setCookie } from "hono/cookie";
import { etag } from "hono/etag";
import { streamSSE } from "hono/streaming";
import { Credentials } from "./access/credentials.js";
import { type Guest, isForGuests } from "./access/guests.js";
import { securityHeaders } from "./access/headers.js";
import { isAllowedHost } from "./access/hosts.js";
import { foreignRequest } from "./access/request-origin.js";
import type { Fault, LiveState, LogTail, RunList, RunPage, RunState, SeriesAnswer } from "./api.js";
import {
  type ClientFiles,
  clientDocument,
  forwardDocument,
  readClient,
  wordsDocument,
} from "./client-files.js";
import { dataRoutes } from "./data/data-routes.js";
import { streamLog } from "./event-stream.js";
import { gridRoutes } from "./grids/grid-routes.js";
import type { JudgingSettings } from "./judging/judging.js";
import { Judgings } from "./judging/judging-routes.js";
import { pictureResponse } from "./pictures.js";
import type { FoundRun } from "./runs/find-runs.js";
import { lastLines } from "./runs/last-lines.js";
import type { Presets } from "./runs/nearest-preset.js";
import { reportOf } from "./runs/report-of.js";
import { RunIndex } from "./runs/run-index.js";
import { RunLogs } from "./runs/run-logs.js";
import { configOf, runPage } from "./runs/run-page.js";
import { StripReader, stepView } from "./runs/step-view.js";
import { ExportWish } from "./steering/exports.js";
import { GoOnWish, Jobs, type JobsAllowed } from "./steering/job-routes.js";
import { bodyOf, steeringRoutes } from "./steering/steering-routes.js";

/** What Studio is made with. */
export interface StudioOptions {
  /** The folder whose runs are shown; it may be a run itself. */
  runs: string;
  /** Default: a random one. */
  token?: string;
  /** Names by which the server may be called, beside those of the loopback. */
  hosts?: readonly string[];
  /** Published settings by kind of run, that a run's own are compared with. */
  presets?: Presets;
  /** Default: one vote a pair, one of twenty pairs again, one of twenty-five of gold. */
  judging?: Partial<JudgingSettings>;
  /** A preference set below the folder, by name, whose judging the first address opens. Default: it opens the list of runs. */
  judgeFirst?: string;
  /** Trainings that may be started from the page. Default: none. */
  jobs?: JobsAllowed;
  /** Default: the page that the set-up built. */
  client?: ClientFiles;
}

/** Studio, to be mounted in any server. */
export interface Studio {
  fetch: (request: Request) => Promise<Response>;
  /** Who has it sees the runs. */
  token: string;
  /** Ends the open streams, and waits until all votes are on the disk. */
  close: () => Promise<void>;
}

const JUDGING: JudgingSettings = { votesPerPair: 1, repeatShare: 0.05, goldShare: 0.04 };
/** A write is words and numbers. */
const MOST_BODY = 256 * 1024;
const MOST_IMAGE = 64e6;
/** Points of a curve, and of one without an asked number. */
const [MOST_POINTS, POINTS] = [20_000, 1500];
const LOG_LINES = 200;

type Env = { Variables: { nonce: string; run: FoundRun; guest?: Guest } };

/**
 * Studio over a folder of runs. It reads run folders alone: no engine, no decoder of images.
 *
 * Throws a UserError (`DATA`) where there is no such folder, (`ENVIRONMENT`) where the page was not built.
 */
export function createStudio(options: StudioOptions): Studio {
  const { runs, hosts = [], presets = {}, judging, judgeFirst, client = readClient() } = options;
  if (!statSync(runs, { throwIfNoEntry: false })?.isDirectory())
    throw new UserError(`There is no folder ${runs}.`, {
      code: "DATA",
      hint: "Give the folder that your runs are in: the one above what --run was given.",
    });
  const index = new RunIndex(runs);
  void index.list(); // the first search of thousands of folders takes longest: it is made while the page loads
  const logs = new RunLogs();
  const strips = new StripReader();
  const jobs = new Jobs(index.root, options.jobs);
  const judgings = new Judgings(index, logs, { ...JUDGING, ...judging }, jobs.votes);
  const credentials = new Credentials(options.token);
  const closing = new AbortController();
  const app = new Hono<Env>();

  app.use(async (c, next) => {
    const nonce = randomBytes(16).toString("base64url");
    c.set("nonce", nonce);
    const refused = refusal(c.req.raw, hosts);
    if (refused) c.res = refused;
    else await next();
    for (const [name, value] of Object.entries(securityHeaders(nonce))) c.res.headers.set(name, value);
    if (!c.res.headers.has("Cache-Control")) c.res.headers.set("Cache-Control", "no-store");
  });

  // A browser's first address. The token leaves the address at once, and the page is opened anew from here: opened from another site, it
  // would not be sent a cookie of this site alone.
  app.get("/", async (c, next) => {
    const { token, invite } = c.req.query();
    const cookie = { httpOnly: true, sameSite: "Strict", path: "/" } as const;
    if (invite !== undefined) {
      const guest = await judgings.guest(invite);
      if (!guest) return notLetIn(c.req.raw, "not invited");
      setCookie(c, guestCookie(c.req.raw), invite, cookie);
      const name = encodeURIComponent(guest.labeller);
      return c.html(forwardDocument(`/judge/${guest.judging}?opened&as=${name}`));
    }
    if (token === undefined) return next();
    const found = credentials.check(token);
    if (found !== "right") return notLetIn(c.req.raw, found);
    setCookie(c, cookieName(c.req.raw), credentials.session, cookie);
    const first = judgeFirst && (await index.sets()).find(({ name }) => name === judgeFirst);
    return c.html(forwardDocument(first ? `/judge/${first.id}?opened` : "/?opened"));
  });

  app.use(async (c, next) => {
    const bearer = /^Bearer (\S+)$/.exec(c.req.header("authorization") ?? "")?.[1];
    if (bearer !== undefined) {
      const found = credentials.check(bearer);
      return found === "right" ? next() : notLetIn(c.req.raw, found);
    }
    const cookie = getCookie(c, cookieName(c.req.raw));
    if (cookie !== undefined && credentials.isSession(cookie)) return next();
    const invite = getCookie(c, guestCookie(c.req.raw));
    const guest = invite === undefined ? undefined : await judgings.guest(invite);
    if (guest) {
      if (!isForGuests(c.req.raw, guest)) return notLetIn(c.req.raw, "guest");
      c.set("guest", guest);
      return next();
    }
    return notLetIn(c.req.raw, c.req.query("opened") === undefined ? "no token" : "no cookie");
  });
  app.use(
    bodyLimit({
      maxSize: MOST_BODY,
      onError: () => failed(413, { code: "USAGE", message: "It is too long." }),
    }),
  );

  const asset = (text: string, type: string) => () =>
    new Response(text, {
      headers: { "Content-Type": `${type}; charset=utf-8`, "Cache-Control": "no-cache" },
    });
  app.get("/studio.js", asset(client.script, "text/javascript"));
  app.get("/studio.css", asset(client.style, "text/css"));
  app.get("/favicon.ico", () => new Response(null, { status: 204 }));

  app.get("/api/runs", etag(), async (c) => {
    const list: RunList = { schema: "spo.studio.runs/1", folder: index.root, runs: await index.list() };
    return c.json(list);
  });

  app.use("/api/runs/:id/*", async (c, next) => {
    if (c.req.path.endsWith("/restore")) return next(); // of a run that is not among them
    const run = await index.find(c.req.param("id"));
    if (!run)
      return failed(404, { code: "DATA", message: "There is no such run; it may have been removed." });
    c.set("run", run);
    await next();
  });

  app.get("/api/runs/:id/page", async (c) => {
    const run = c.get("run");
    const log = await logs.of(run);
    const page: RunPage = {
      ...runPage(run, index.summaryOf(run), log, presets),
      exports: jobs.exportsOf(run),
      goOn: jobs.goingOnOf(run, index.summaryOf(run)),
    };
    return c.json(page);
  });

  app.get("/api/runs/:id/series", async (c) => {
    const { contents } = await logs.of(c.get("run"));
    const columns = c.req.query("of") === "eval" ? contents.evals : contents.updates;
    const most = bounded(c.req.query("points"), [10, MOST_POINTS], POINTS);
    const smoothing = bounded(c.req.query("smoothing"), [0, 0.9999], 0);
    const keys = c.req.query("keys")?.split(",") ?? columns.keys;
    const series = keys.slice(0, 100).flatMap((key) => columns.series(key, { most, smoothing }) ?? []);
    const answer: SeriesAnswer = { schema: "spo.studio.series/1", series };
    return c.json(answer);
  });

  app.get("/api/runs/:id/timesteps", async (c) => c.json((await logs.of(c.get("run"))).timestepMap()));

  app.get("/api/runs/:id/log", (c) => {
    const lines = lastLines(join(c.get("run").folder, "events.jsonl"), LOG_LINES);
    const tail: LogTail = { schema: "spo.studio.log/1", lines };
    return c.json(tail);
  });

  app.get("/api/runs/:id/report", (c) => {
    const run = c.get("run");
    return new Response(reportOf(run), {
      headers: {
        "Content-Type": "text/html; charset=utf-8",
        // To be kept, not shown: a page of its own has a policy of its own.
        "Content-Disposition": `attachment; filename="${basename(run.name).replace(/[^\w.-]+/g, "-")}.html"`,
      },
    });
  });

  app.get("/api/runs/:id/events", (c) => {
    const run = c.get("run");
    return streamSSE(c, (stream) =>
      streamLog(stream, {
        path: join(run.folder, "events.jsonl"),
        mark: c.req.header("last-event-id") ?? c.req.query("from"),
        state: () => JSON.stringify(liveState(index.summaryOf(run).state, run.folder)),
        signal: closing.signal,
      }),
    );
  });

  app.get("/api/runs/:id/steps/:round", async (c) => {
    const run = c.get("run");
    const round = whole(c.req.param("round"));
    const { config } = runPage(run, index.summaryOf(run), await logs.of(run), presets);
    return c.json(stepView(run, round, strips.of(run.folder, round), config));
  });

  app.get("/api/runs/:id/candidates/:round/:row/:candidate", (c) => {
    const { round, row, candidate } = c.req.param();
    const image = strips.of(c.get("run").folder, whole(round))[whole(row)]?.images[whole(candidate)];
    return pictureResponse(image === undefined ? undefined : Buffer.from(image, "base64"));
  });

  app.get("/api/runs/:id/samples/:set/:image", async (c) => {
    const run = c.get("run");
    const { contents } = await logs.of(run);
    const image = contents.samples[whole(c.req.param("set"))]?.images[whole(c.req.param("image"))];
    return pictureResponse(image && fileOfRun(run.folder, image.file, MOST_IMAGE));
  });

  app.post("/api/runs/:id/export", async (c) => {
    const run = c.get("run");
    return c.json(jobs.export(run, configOf(run.folder), await bodyOf(c, ExportWish)));
  });

  app.post("/api/runs/:id/go-on", async (c) => {
    const run = c.get("run");
    return c.json(jobs.goOn(run, index.summaryOf(run), configOf(run.folder), await bodyOf(c, GoOnWish)));
  });

  app.route("/api/runs", steeringRoutes(index));
  app.route("/api/jobs", jobs.routes);
  app.route("/api/data", dataRoutes(index));
  app.route("/api/grids", gridRoutes(index, logs));
  app.route("/api/judging", judgings.routes);
  app.all("/api/*", () => failed(404, { code: "USAGE", message: "There is no such address." }));
  // Every other address is one of the page's own.
  app.get("*", (c) => c.html(clientDocument(c.get("nonce"))));
  app.notFound(() => failed(404, { code: "USAGE", message: "There is no such address." }));
  app.onError((error) => {
    if (!(error instanceof UserError))
      return failed(500, { code: "BUG", message: "Studio could not answer this." });
    const { code, message, hint } = error;
    return failed(STATUS[code] ?? 400, { code, message, hint });
  });

  return {
    fetch: async (request) => app.fetch(request),
    token: credentials.token,
    close: () => {
      closing.abort();
      jobs.close();
      return judgings.close();
    },
  };
}

const liveState = (state: RunState, folder: string): LiveState => ({
  state,
  activity: state === "running" ? readActivity(folder) : undefined,
});

/** Requests that no token makes good: by another name, or made by another site. */
function refusal(request: Request, hosts: readonly string[]): Response | undefined {
  if (!isAllowedHost(request.headers.get("host") ?? new URL(request.url).host, hosts))
    return failed(403, {
      code: "USAGE",
      message: "Studio does not answer to this name.",
      hint: "Open the address that the command printed; --trust-host NAME allows another.",
    });
  const foreign = foreignRequest(request);
  return foreign ? failed(403, { code: "USAGE", message: `The request is refused: ${foreign}.` }) : undefined;
}

const REFUSALS = {
  "no token": {
    status: 401,
    title: "Studio is closed",
    words: "Open the address that the command printed: it holds a token, which is another at each start.",
  },
  "no cookie": {
    status: 401,
    title: "This browser keeps no cookie",
    words:
      "Studio knows a browser by a cookie. Allow cookies for this address, then open the printed one again.",
  },
  "not invited": {
    status: 403,
    title: "This invitation does not hold",
    words: "It may have been withdrawn: ask for another link.",
  },
  guest: {
    status: 403,
    title: "The invitation is for judging alone",
    words: "Open its link to judge.",
  },
  wrong: {
    status: 403,
    title: "This token is not the one",
    words: "It is another at each start: copy the address that the command printed last.",
  },
  later: {
    status: 429,
    title: "Too many wrong tokens",
    words: "Wait a minute, then open the printed address.",
  },
} as const;

/** A page of words for a browser that opens an address, else JSON. */
function notLetIn(request: Request, why: keyof typeof REFUSALS): Response {
  const { status, title, words } = REFUSALS[why];
  if (request.headers.get("accept")?.includes("text/html"))
    return new Response(wordsDocument(title, words), {
      status,
      headers: { "Content-Type": "text/html; charset=utf-8" },
    });
  return failed(status, { code: "USAGE", message: `${title}.`, hint: words });
}

/** Of faults that a user can mend. */
const STATUS: Partial<Record<UserError["code"], number>> = { DATA: 404, RESOURCE: 507 };

const failed = (status: number, fault: Fault): Response => Response.json(fault, { status });

/** Servers at several ports of a machine share its cookies: each has a name of its own. */
const cookieName = ({ url }: Request): string => `spo-studio-${new URL(url).port || "80"}`;
const guestCookie = (request: Request): string => `${cookieName(request)}-guest`;

function bounded(
  text: string | undefined,
  [least, most]: readonly [number, number],
  fallback: number,
): number {
  const value = text === undefined || text === "" ? fallback : Number(text);
  if (!(value >= least && value <= most))
    throw new UserError(`${value} is not from ${least} to ${most}.`, { code: "USAGE" });
  return value;
}

/** A number in an address. Throws a UserError (`DATA`) for anything else: there is nothing of that name. */
function whole(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UserError("There is no such thing.", { code: "DATA" });
  return Number(text);
}
