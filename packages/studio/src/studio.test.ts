import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { CANDIDATE_PICTURES, Run } from "@spo/records";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { JudgingList, QueuedJob, RunList, RunPage, StepView } from "./api.js";
import { PIXEL, writeSpoRun } from "./run-folders.fixture.js";
import { createStudio, type Studio } from "./studio.js";

const ORIGIN = "http://127.0.0.1:7000";
let root: string;
let run: Run;
let studio: Studio;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-studio-"));
  run = writeSpoRun(join(root, "first"));
  studio = open();
});
afterEach(() => {
  studio.close();
  run.close();
  rmSync(root, { recursive: true });
});

const open = (options = {}): Studio =>
  createStudio({ runs: root, client: { script: "go()", style: "p{}" }, ...options });

const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
  studio.fetch(new Request(`${ORIGIN}${path}`, init));

/** As a program with the token. */
const get = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  ask(path, { headers: { authorization: `Bearer ${studio.token}`, ...headers } });

const json = async <T>(path: string): Promise<T> => (await get(path)).json() as Promise<T>;

async function firstRun(): Promise<string> {
  const { runs } = await json<RunList>("/api/runs");
  return (runs[0] as RunList["runs"][number]).id;
}

/** The cookie that the first address gives. */
async function cookie(): Promise<string> {
  const set = (await ask(`/?token=${studio.token}`)).headers.get("set-cookie") as string;
  return set.split(";")[0] as string;
}

describe("who is let in", () => {
  test("the token moves from the first address into a cookie that scripts and other sites cannot use", async () => {
    const first = await ask(`/?token=${studio.token}`);
    expect(first.status).toBe(200);
    expect(await first.text()).toContain('content="0;url=/?opened"');
    const set = first.headers.get("set-cookie") as string;
    expect(set).toMatch(/^spo-studio-7000=[\w-]{32}; Path=\/; HttpOnly; SameSite=Strict$/);
    expect(set).not.toContain(studio.token);
    const page = await ask("/", { headers: { cookie: await cookie() } });
    expect(page.status).toBe(200);
    expect(await page.text()).not.toContain(studio.token);
  });

  test("the first address opens the judging of the set that is asked for, and the runs where there is none of that name", async () => {
    mkdirSync(join(root, "taste"));
    writeFileSync(join(root, "taste", "pairs.jsonl"), "");
    studio.close();
    studio = open({ judgeFirst: "taste" });
    const { sets } = await json<JudgingList>("/api/judging");
    expect(sets).toHaveLength(1);
    const first = await (await ask(`/?token=${studio.token}`)).text();
    expect(first).toContain(`content="0;url=/judge/${sets[0]?.id}?opened"`);
    studio.close();
    studio = open({ judgeFirst: "gone" });
    expect(await (await ask(`/?token=${studio.token}`)).text()).toContain('content="0;url=/?opened"');
  });

  test("without token or cookie nothing is told, not of pictures, streams and the page's own files either", async () => {
    const id = await firstRun();
    const paths = [
      "/",
      "/studio.js",
      "/runs/x",
      "/api/runs",
      "/api/jobs",
      "/api/grids",
      `/api/grids/${id}`,
      ...[
        "page",
        "report",
        "series",
        "log",
        "events",
        "timesteps",
        "steps/0",
        "samples/0/0",
        "candidates/0/0/0",
      ].map((path) => `/api/runs/${id}/${path}`),
    ];
    for (const path of paths) {
      expect((await get(path)).status, path).toBe(200);
      for (const headers of [
        {},
        { authorization: "Bearer wrong" },
        { authorization: studio.token },
        { cookie: "spo-studio-7000=wrong" },
        { cookie: (await cookie()).replace("7000", "7001") },
      ] as Record<string, string>[])
        expect([401, 403, 429], path).toContain((await ask(path, { headers })).status);
      studio.close();
      studio = createStudio({ runs: root, client: { script: "go()", style: "p{}" } }); // its count of wrong tokens is new
    }
  });

  test("each refusal says what to do, as a page where a browser opened it", async () => {
    const page = { headers: { accept: "text/html" } };
    const told = async (path: string) => (await ask(path, page)).text();
    expect(await told("/")).toMatch(/Open the address that the command printed/);
    expect(await told("/?opened")).toMatch(/Allow cookies/);
    expect(await told("/?token=x")).toMatch(/another at each start/);
    expect(await (await ask("/api/runs")).json()).toMatchObject({ code: "USAGE", hint: expect.any(String) });
  });

  test("after twenty wrong tokens none is looked at, but cookies are", async () => {
    const known = await cookie();
    for (let i = 0; i < 20; i++) expect((await ask(`/?token=${i}`)).status).toBe(403);
    expect((await ask(`/?token=${studio.token}`)).status).toBe(429);
    expect((await ask("/api/runs", { headers: { cookie: known } })).status).toBe(200);
  });

  test.each([
    ["localhost:7000", 200],
    ["127.0.0.1:7000", 200],
    ["[::1]:7000", 200],
    ["LOCALHOST", 200],
    ["studio.lan", 200],
    ["evil.example", 403],
    ["localhost.evil:7000", 403],
    ["2130706433:7000", 403],
    ["127.0.0.1.nip.example", 403],
    ["localhost@evil.example", 403],
    ["", 403],
  ])("a request by the name %j is answered with %i", async (host, status) => {
    studio.close();
    studio = open({ hosts: ["studio.lan"] });
    expect((await get("/api/runs", { host })).status).toBe(status);
  });

  test.each([
    [{ "sec-fetch-site": "cross-site" }, 403],
    [{ "sec-fetch-site": "same-site" }, 403],
    [{ "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }, 403],
    [{ "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" }, 200],
    [{ "sec-fetch-site": "same-origin" }, 200],
    [{ "sec-fetch-site": "none" }, 200],
  ])("a read with %o is answered with %i", async (headers, status) => {
    const { cookie: value } = { cookie: await cookie() };
    expect((await ask("/api/runs", { headers: { cookie: value, ...headers } })).status).toBe(status);
  });

  test.each(["POST", "PUT", "PATCH", "DELETE"])(
    "a %s that another site made is refused on every path",
    async (method) => {
      const known = { cookie: await cookie(), "content-type": "application/json" };
      const id = await firstRun();
      for (const path of ["/", "/api/runs", `/api/runs/${id}/page`]) {
        for (const headers of [
          { ...known, origin: "http://evil.example" },
          { ...known, origin: "null" },
          { ...known, origin: ORIGIN, "sec-fetch-site": "cross-site" },
          { ...known }, // does not say where it comes from
          { ...known, origin: ORIGIN, "content-type": "text/plain" },
          { ...known, origin: ORIGIN, "content-type": "application/x-www-form-urlencoded" },
          { origin: ORIGIN, "content-type": "application/json" },
        ] as Record<string, string>[])
          expect([401, 403]).toContain((await ask(path, { method, headers, body: "{}" })).status);
        const own = { ...known, origin: ORIGIN, "sec-fetch-site": "same-origin" };
        expect((await ask(path, { method, headers: own, body: "{}" })).status).toBe(404); // let in, and there is none
      }
    },
  );

  test("a long body is refused before it is read", async () => {
    const own = { cookie: await cookie(), origin: ORIGIN, "content-type": "application/json" };
    let pulled = 0;
    const body = new ReadableStream({
      pull: (controller) => {
        pulled += 65_536;
        controller.enqueue(new Uint8Array(65_536));
      },
    });
    const request = { method: "POST", headers: own, body, duplex: "half" } as RequestInit;
    expect((await ask("/api/runs", request)).status).toBe(413);
    expect(pulled).toBeLessThan(2e6);
  });

  test("every answer forbids what it can", async () => {
    const nonces = new Set<string>();
    for (const path of [
      "/",
      "/api/runs",
      "/api/none",
      "/studio.js",
      `/api/runs/${await firstRun()}/samples/0/0`,
    ]) {
      const { headers } = await get(path);
      const policy = headers.get("content-security-policy") as string;
      expect(policy).toMatch(/^default-src 'none'; script-src 'nonce-[\w-]{22}'; style-src 'nonce-/);
      expect(policy).toMatch(/frame-ancestors 'none'/);
      expect(policy).not.toMatch(/unsafe|\*|data:/);
      nonces.add(policy);
      expect(headers.get("x-content-type-options")).toBe("nosniff");
      expect(headers.get("referrer-policy")).toBe("no-referrer");
      expect(headers.get("access-control-allow-origin")).toBeNull();
    }
    expect(nonces.size).toBe(5);
  });
});

describe("a run", () => {
  test("is listed with its kind, state and step", async () => {
    const { runs, schema } = await json<RunList>("/api/runs");
    expect(schema).toBe("spo.studio.runs/1");
    expect(runs).toMatchObject([{ name: "first", kind: "train spo", state: "running", step: 3, total: 40 }]);
  });

  test("has a page: what came out, settings and their difference to the nearest preset, data, samples", async () => {
    studio.close();
    const presets = {
      "train spo": { far: { threshold: 0.9, rounds: 1 }, near: { threshold: 0.5, optimizer: { lr: 1e-5 } } },
    };
    studio = open({ presets });
    const page = await json<RunPage>(`/api/runs/${await firstRun()}/page`);
    expect(page.essence).toMatch(/has risen from 12 to 15 so far.*Running, at 3 of 40/);
    expect(page.config).toMatchObject({ rounds: 40 });
    expect(page.preset).toEqual({
      name: "near",
      differences: [{ setting: "threshold", here: 0.3, there: 0.5 }],
    });
    expect(page.data).toEqual({ prompts: 48, promptsSha256: "f3d3" });
    expect(page.engine).toEqual({ libtorch: "2.15.0" });
    expect(page.warnings).toEqual(["watch a bear"]);
    expect(page.metrics).toEqual({ step: ["loss", "accuracy"], eval: ["score", "drift"] });
    expect(page.strips).toEqual([{ round: 0 }, { round: 1 }, { round: 2 }]);
    expect(page.samples.map(({ step, images }) => [step, images.length])).toEqual([
      [0, 2],
      [3, 2],
    ]);
    expect(page.samples[1]?.images.map(({ score }) => score)).toEqual([15, undefined]);
    expect(page.perStep.find(({ part }) => part === "sampling")?.seconds).toBe(1);
    expect(page.picturing).toBeUndefined();
    run.step(4, 40, {}, { phases: { [CANDIDATE_PICTURES]: { wall: page.elapsed, cpu: 0 } } });
    const later = await json<RunPage>(`/api/runs/${page.run.id}/page`);
    expect((later.picturing as number) * later.elapsed).toBeCloseTo(page.elapsed, 9);
    for (const { src } of page.samples[1]?.images ?? []) {
      const picture = await get(src);
      expect(picture.headers.get("content-type")).toBe("image/png");
      expect(Buffer.from(await picture.arrayBuffer())).toEqual(PIXEL);
    }
  });

  test("of a comparison says where its result is", async () => {
    const compared = Run.open(join(root, "compared"), { kind: "compare", config: {} });
    compared.done({ report: "comparison.html" });
    compared.close();
    studio.close();
    studio = open();
    const { runs } = await json<RunList>("/api/runs");
    const id = runs.find(({ name }) => name === "compared")?.id;
    expect((await json<RunPage>(`/api/runs/${id}/page`)).essence).toMatch(/^Finished .* comparison\.html/);
  });

  test("that is at work tells what it does now; one that is not, nothing", async () => {
    run.tellPhase("sampling", { done: 7, total: 20 });
    const page = async (): Promise<RunPage> => json<RunPage>(`/api/runs/${await firstRun()}/page`);
    expect((await page()).activity).toMatchObject({ phase: "sampling", done: 7, total: 20 });
    expect((await page()).essence).toMatch(/Running, at 3 of 40; about .* left/);
    run.close();
    expect((await page()).activity).toBeUndefined();
  });

  test("gives its metrics as series", async () => {
    const id = await firstRun();
    expect(await json(`/api/runs/${id}/series?keys=loss,none&smoothing=0.5`)).toMatchObject({
      series: [
        {
          key: "loss",
          x: [1, 2, 3],
          y: [0.5, 0.25, 0.125],
          smooth: [0.5, expect.any(Number), expect.any(Number)],
        },
      ],
    });
    expect(await json(`/api/runs/${id}/series?of=eval&keys=score`)).toMatchObject({
      series: [{ x: [0, 3], y: [12, 15] }],
    });
    for (const wrong of ["points=1e9", "points=x", "smoothing=1", "smoothing=-1"])
      expect((await get(`/api/runs/${id}/series?${wrong}`)).status).toBe(400);
  });

  test("shows the candidates of a round: scores, margin, threshold, and why a row gave no pair", async () => {
    const id = await firstRun();
    const { prompts } = await json<StepView>(`/api/runs/${id}/steps/1`);
    expect(prompts.map(({ prompt }) => prompt)).toEqual(["a bear"]);
    const rows = prompts[0]?.rows ?? [];
    expect(rows.map(({ why }) => why)).toEqual([undefined, "below the threshold", "tie", "not finite"]);
    expect(rows[0]).toMatchObject({
      timestep: 701,
      win: 1,
      lose: 0,
      next: 2,
      valid: true,
      margin: 0.6,
      threshold: 0.3,
    });
    expect(rows[3]?.candidates).toEqual([{ score: 1 }, { score: null }, { score: 1 }]); // no pictures were kept
    expect((await get(rows[0]?.candidates[2]?.src as string)).headers.get("content-type")).toBe("image/png");
    for (const path of [
      "steps/9",
      "steps/x",
      "steps/-1",
      "candidates/0/9/0",
      "candidates/0/0/9",
      "candidates/0/0/length",
    ])
      expect((await get(`/api/runs/${id}/${path}`)).status, path).toBe(404);
  });

  test("tells pairs, margins and what the updates made of them by timestep and round, the noisiest first", async () => {
    const map = await json<{ timesteps: number[]; rounds: { round: number; cells: unknown[] }[] }>(
      `/api/runs/${await firstRun()}/timesteps`,
    );
    expect(map.timesteps).toEqual([701, 1]);
    expect(map.rounds[2]).toMatchObject({
      round: 3,
      cells: [
        { pairs: 8, valid: 3, accuracy: 0.75, logRatio: 0.03 },
        { pairs: 8, valid: 3, accuracy: null, logRatio: null }, // no update had a pair of it
      ],
    });
  });
});

describe("files", () => {
  test("are named by ID alone: no text in an address reaches a path", async () => {
    writeFileSync(join(root, "secret.png"), PIXEL);
    const id = await firstRun();
    const names = [
      "..",
      "../..",
      "%2e%2e",
      "..%2f..%2fsecret.png",
      "%2e%2e%2fsecret.png",
      "....//secret.png",
    ];
    const more = [
      "/etc/passwd",
      "%2fetc%2fpasswd",
      "C:%5cwindows",
      "..%5c..",
      "%00",
      "0%00.png",
      "constructor",
      "__proto__",
    ];
    for (const name of [...names, ...more]) {
      for (const path of [
        `/api/runs/${name}/page`,
        `/api/runs/${id}/samples/${name}/0`,
        `/api/runs/${id}/samples/0/${name}`,
        `/api/runs/${id}/candidates/${name}/0/0`,
        `/api/runs/${id}/candidates/0/0/${name}`,
        `/api/runs/${id}/steps/${name}`,
      ]) {
        const answer = await get(path);
        const body = await answer.text();
        expect(body, path).not.toContain("root:");
        // Dots that the address itself resolves lead to another address of the page, never to a file.
        if (answer.status === 200)
          expect(["text/html; charset=UTF-8", "application/json"]).toContain(
            answer.headers.get("content-type"),
          );
        else expect([400, 404]).toContain(answer.status);
      }
    }
  });

  test("that a log names outside of its run, or that a link leads out to, are not shown", async () => {
    writeFileSync(join(root, "secret.png"), PIXEL);
    symlinkSync(join(root, "secret.png"), join(root, "first", "link.png"));
    const outside = ["../secret.png", join(root, "secret.png"), "link.png", "samples", ""];
    run.record({ type: "sample", step: 9, images: outside.map((file) => ({ file, prompt: "p", seed: 0 })) });
    const id = await firstRun();
    for (const i of outside.keys()) expect((await get(`/api/runs/${id}/samples/2/${i}`)).status).toBe(404);
  });

  test("that are no picture are not shown as one, whatever their name is", async () => {
    const files = {
      "a.png": "<svg xmlns='http://www.w3.org/2000/svg'/>",
      "b.svg": "<svg/>",
      "c.html": "<script>1</script>",
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, "first", name), text);
    const images = Object.keys(files).map((file) => ({ file, prompt: "p", seed: 0 }));
    run.record({ type: "sample", step: 9, images });
    for (const i of images.keys())
      expect((await get(`/api/runs/${await firstRun()}/samples/2/${i}`)).status).toBe(404);
  });

  test("of a run whose strips are a link to elsewhere are not read", async () => {
    run.close();
    rmSync(join(root, "first", "strips"), { recursive: true });
    const other = writeSpoRun(join(root, "other"));
    other.close();
    symlinkSync(join(root, "other", "strips"), join(root, "first", "strips"));
    const { runs } = await json<RunList>("/api/runs");
    const id = runs.find(({ name }) => name === "first")?.id;
    expect((await json<RunPage>(`/api/runs/${id}/page`)).strips).toEqual([]);
  });
});

describe("the stream of a run", () => {
  /** Reads a stream until so many events have come. */
  async function events(
    path: string,
    count: number,
    headers = {},
  ): Promise<{ event: string; data: string; id?: string }[]> {
    const { body } = await get(path, headers);
    const reader = (body as ReadableStream<Uint8Array>).getReader();
    let text = "";
    while (text.split("\n\n").length <= count) text += new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();
    return text
      .split("\n\n")
      .slice(0, count)
      .map((block) => Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/).slice(0, 2))));
  }

  test("sends what comes after the place that the page was read to, and what the process is at", async () => {
    const id = await firstRun();
    const { mark } = await json<RunPage>(`/api/runs/${id}/page`);
    run.step(4, 40, { loss: 0.1 });
    const [log, state] = await events(`/api/runs/${id}/events?from=${mark}`, 2);
    expect([log?.event, JSON.parse(log?.data ?? "").step]).toEqual(["log", 4]);
    expect(state?.event).toBe("state");
    expect(JSON.parse(state?.data ?? "")).toMatchObject({
      state: "running",
      activity: { phase: "updating" },
    });
  });

  test("goes on behind the last event that a browser has, none lost and none twice", async () => {
    const id = await firstRun();
    const all = await events(`/api/runs/${id}/events`, 17);
    const whole = all.filter(({ event }) => event === "log").map(({ data }) => data);
    expect(whole).toHaveLength(16);
    for (const i of [0, 5, 11]) {
      const rest = await events(`/api/runs/${id}/events`, 15 - i, { "last-event-id": all[i]?.id });
      expect(rest.map(({ data }) => data)).toEqual(whole.slice(i + 1));
    }
  });

  test("says so where the log was cut back meanwhile, and begins anew", async () => {
    const id = await firstRun();
    const { mark } = await json<RunPage>(`/api/runs/${id}/page`);
    run.close();
    truncateSync(join(root, "first", "events.jsonl"), 0);
    appendFileSync(
      join(root, "first", "events.jsonl"),
      '{"type":"warn","message":"new","time":{"at":"x","wall":0,"cpu":0}}\n',
    );
    const [anew, log] = await events(`/api/runs/${id}/events?from=${mark}`, 2);
    expect([anew?.event, log?.event]).toEqual(["anew", "log"]);
  });
});

test("a thousand readers that come and go, and ten thousand events, leave nothing behind", async () => {
  const id = await firstRun();
  const gc = newGarbageCollector();
  const descriptors = (): number => (existsSync("/proc/self/fd") ? readdirSync("/proc/self/fd").length : 0);
  const readers = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const reader = ((await get(`/api/runs/${id}/events`)).body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      await reader.cancel();
    }
  };
  await readers(100); // what is made once
  gc();
  const [before, open] = [process.memoryUsage().heapUsed, descriptors()];
  await readers(1000); // each is sent the log's thirteen events
  gc();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(5e6);
  expect(descriptors()).toBeLessThanOrEqual(open);
});

/** The collector, which a process does not offer unless it is asked to. */
function newGarbageCollector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

describe("steering", () => {
  const send = (method: "POST" | "PUT", path: string, body: unknown): Promise<Response> =>
    ask(path, {
      method,
      headers: { authorization: `Bearer ${studio.token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  test("notes lie in the run's folder, and their tags stand in the list, also of another server", async () => {
    const id = await firstRun();
    const notes = { tags: ["good", "good", " lr "], note: "the first <b>one</b>" };
    expect((await send("PUT", `/api/runs/${id}/notes`, notes)).status).toBe(200);
    const { runs } = await json<RunList>("/api/runs");
    expect(runs[0]?.tags).toEqual(["good", "lr"]);
    studio.close();
    studio = open();
    expect((await json<RunList>("/api/runs")).runs[0]?.tags).toEqual(["good", "lr"]);
    expect((await json<RunPage>(`/api/runs/${id}/page`)).notes).toEqual({
      tags: ["good", "lr"],
      note: notes.note,
    });
    for (const wrong of [{}, { tags: [""], note: "" }, { tags: [], note: 1 }, { ...notes, path: "/" }])
      expect((await send("PUT", `/api/runs/${id}/notes`, wrong)).status).toBe(400);
  });

  test("a training at work is asked through its folder; one that is not at work is not", async () => {
    const id = await firstRun();
    expect((await send("POST", `/api/runs/${id}/requests`, { request: "sample" })).status).toBe(200);
    expect((await json<RunPage>(`/api/runs/${id}/page`)).requests).toEqual(["sample"]);
    expect(run.takeRequests()).toEqual(["sample"]);
    expect((await json<RunPage>(`/api/runs/${id}/page`)).requests).toEqual([]);
    expect((await send("POST", `/api/runs/${id}/requests`, { request: "../x" })).status).toBe(400);
    run.close();
    expect((await send("POST", `/api/runs/${id}/requests`, { request: "stop" })).status).toBe(400);
  });

  test("a deleted run is moved to the trash and can be had back; one at work stays", async () => {
    const id = await firstRun();
    expect((await send("POST", `/api/runs/${id}/trash`, {})).status).toBe(400);
    run.close();
    const { now } = (await (await send("POST", `/api/runs/${id}/trash`, {})).json()) as { now: string };
    expect(existsSync(join(root, now, "events.jsonl"))).toBe(true);
    expect((await json<RunList>("/api/runs")).runs).toEqual([]);
    expect((await send("POST", `/api/runs/${id}/restore`, {})).status).toBe(200);
    expect((await json<RunList>("/api/runs")).runs).toMatchObject([{ id, name: "first" }]);
    expect((await send("POST", `/api/runs/${id}/restore`, {})).status).toBe(404);
  });
});

describe("starting", () => {
  const send = (path: string, body: unknown): Promise<Response> =>
    ask(path, {
      method: "POST",
      headers: { authorization: `Bearer ${studio.token}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  const wish = { kind: "train spo", config: {}, run: "second" };

  test("of a conversion of a result is offered and done only where starting is allowed", async () => {
    mkdirSync(join(root, "first", "model"));
    writeFileSync(join(root, "first", "model", "model_index.json"), "{}");
    const id = await firstRun();
    const page = async (): Promise<RunPage> => json<RunPage>(`/api/runs/${id}/page`);
    const write = () => send(`/api/runs/${id}/export`, { layout: "single-file" });
    expect((await page()).exports).toEqual([]);
    expect([(await write()).status, existsSync(join(root, ".queue"))]).toEqual([400, false]);
    studio.close();
    studio = open({ jobs: { command: ["true"], kinds: { "train spo": { settings: [], presets: {} } } } });
    expect((await page()).exports).toEqual(["single-file"]);
    expect(await (await write()).json()).toMatchObject({
      kind: "convert",
      run: "first-single-file.safetensors",
    });
  });

  test("is refused unless the server was started with it allowed, and leaves nothing behind", async () => {
    expect(await json("/api/jobs")).toMatchObject({ kinds: [], jobs: [] });
    for (const path of ["", "/forecast", "/x/cancel"])
      expect(await (await send(`/api/jobs${path}`, wish)).json()).toMatchObject({
        hint: expect.stringMatching(/--allow-start/),
      });
    expect(readdirSync(root)).toEqual(["first"]);
  });

  test("a run that was begun elsewhere goes on by its own settings, once, and one that has ended only longer", async () => {
    const id = await firstRun();
    const goOn = (wish: object) => send(`/api/runs/${id}/go-on`, wish);
    const offered = async () => (await json<RunPage>(`/api/runs/${id}/page`)).goOn;
    run.close();
    writeFileSync(join(root, "first", "config.json"), JSON.stringify({ kind: "train spo", device: "cuda" }));
    expect([await offered(), (await goOn({})).status]).toEqual([undefined, 400]);
    expect(existsSync(join(root, ".queue"))).toBe(false);
    studio.close();
    const command: [string, ...string[]] = [process.execPath, "--eval", "setTimeout(() => {}, 3000)"];
    const kinds = { "train spo": { settings: [], presets: {}, length: "rounds" } };
    studio = open({ jobs: { command, kinds } });
    expect(await offered()).toEqual({ anew: true });
    run = Run.open(join(root, "first"), { kind: "train spo", config: { device: "cuda" } });
    run.save(3, () => ({ "state.bin": { bytes: 8, chunks: [new Uint8Array(8)] } }), { wait: true });
    run.close();
    expect(await offered()).toEqual({});
    for (const wrong of [{ to: 50 }, { run: "../x" }, { words: ["x"] }])
      expect((await goOn(wrong)).status, JSON.stringify(wrong)).toBe(400);
    const job = (await (await goOn({})).json()) as QueuedJob;
    expect(job).toMatchObject({ kind: "train spo", run: "first", words: [], device: "cuda" });
    expect(job.command).toMatch(/^npx spo train spo --run \S+first$/);
    expect((await goOn({})).status).toBe(400);
    studio.close();

    rmSync(join(root, ".queue"), { recursive: true });
    run = Run.open(join(root, "first"), { kind: "train spo", config: { device: "cuda" } });
    run.done({});
    run.close();
    studio = open({ jobs: { command: ["true"], kinds } });
    expect(await offered()).toEqual({ length: "rounds", from: 40 });
    for (const wrong of [{}, { to: 40 }, { to: 50.5 }, { to: "50" }])
      expect((await goOn(wrong)).status, JSON.stringify(wrong)).toBe(400);
    expect(await (await goOn({ to: 60 })).json()).toMatchObject({ run: "first", words: ["rounds=60"] });
    rmSync(join(root, "first", "checkpoints"), { recursive: true });
    expect([await offered(), (await goOn({ to: 60 })).status]).toEqual([undefined, 400]);
  });

  test("names kinds and presets that there are, and no path for its run", async () => {
    studio.close();
    const kinds = { "train spo": { settings: [], presets: { near: {} } } };
    studio = open({ jobs: { command: [process.execPath, "--eval", "process.exit(3)"], kinds } });
    for (const wrong of [
      { ...wish, kind: "train constructor" },
      { ...wish, kind: "data import" },
      { ...wish, preset: "toString" },
      { ...wish, preset: "../x" },
      { ...wish, run: "../x" },
      { ...wish, run: "first" },
      { ...wish, more: 1 },
      wish, // the command refuses its settings
    ])
      expect((await send("/api/jobs", wrong)).status, JSON.stringify(wrong)).toBe(400);
    expect((await json<{ jobs: unknown[] }>("/api/jobs")).jobs).toEqual([]);
  });
});

test("a run is had as one page without a script, unless parts of it are links to elsewhere", async () => {
  const id = await firstRun();
  const answer = await get(`/api/runs/${id}/report`);
  expect(answer.headers.get("content-disposition")).toBe('attachment; filename="first.html"');
  const page = await answer.text();
  expect(page).toMatch(/<h1>SPO training: first<\/h1>/);
  expect(page).not.toMatch(/<script|https?:/);
  renameSync(join(root, "first", "config.json"), join(root, "secret.json"));
  symlinkSync(join(root, "secret.json"), join(root, "first", "config.json"));
  expect((await get(`/api/runs/${id}/report`)).status).toBe(404);
});

test("a grid's pictures are those beside its list alone", async () => {
  mkdirSync(join(root, "grid"));
  writeFileSync(join(root, "secret.png"), PIXEL);
  writeFileSync(join(root, "grid", "0.png"), PIXEL);
  const images = ["0.png", "../secret.png", "/etc/passwd"].map((file, i) => ({
    file,
    at: [i],
    parameters: {},
  }));
  const axes = [{ name: "seed", values: ["0", "1", "2"] }];
  writeFileSync(join(root, "grid", "grid.json"), JSON.stringify({ schema: "spo.grid/1", axes, images }));
  studio.close();
  studio = open();
  const { grids } = await json<{ grids: { id: string }[] }>("/api/grids");
  const id = grids[0]?.id;
  const status = async (i: number): Promise<number> => (await get(`/api/grids/${id}/images/${i}`)).status;
  expect([await status(0), await status(1), await status(2), await status(3)]).toEqual([200, 404, 404, 404]);
  const page = await (await get(`/api/grids/${id}/page`)).text();
  expect(page).toContain(PIXEL.toString("base64"));
  writeFileSync(join(root, "grid", "grid.json"), "{");
  expect(await (await get(`/api/grids/${id}`)).json()).toMatchObject({
    message: expect.stringMatching(/damaged/),
  });
});

test("a folder that is not there is refused with what to give", () => {
  expect(() => createStudio({ runs: join(root, "none"), client: { script: "", style: "" } })).toThrow(
    expect.objectContaining({ code: "DATA", hint: expect.stringMatching(/--run/) }),
  );
});

test("a run whose files are torn or gone has a page that says what it can", async () => {
  mkdirSync(join(root, "torn"));
  writeFileSync(join(root, "torn", "config.json"), '{"kind":');
  writeFileSync(join(root, "torn", "events.jsonl"), "half");
  const { runs } = await json<RunList>("/api/runs");
  for (const { id, name } of runs) {
    const page = await json<RunPage>(`/api/runs/${id}/page`);
    expect(page.run.name).toBe(name);
    if (name === "torn") expect([page.run.state, page.config]).toEqual(["damaged", {}]);
  }
});
