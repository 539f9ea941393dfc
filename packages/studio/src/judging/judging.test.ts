import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Answer, type Vote, VoteLog } from "@spo/records";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type {
  Invitation,
  JobList,
  JudgingList,
  JudgingResults,
  NextPairs,
  QueuedJob,
  RunList,
  VotesTraining,
} from "../api.js";
import { PIXEL, writeSpoRun } from "../run-folders.fixture.js";
import { createStudio, type Studio } from "../studio.js";
import { shown } from "./judging.js";

const ORIGIN = "http://127.0.0.1:7000";
let root: string;
let studio: Studio;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-judging-"));
  writeSet("taste", 60);
  studio = open();
});
afterEach(async () => {
  await studio.close();
  rmSync(root, { recursive: true });
});

const open = (votesPerPair = 1): Studio =>
  createStudio({ runs: root, judging: { votesPerPair }, client: { script: "", style: "" } });

/** A set whose image 0 of each pair is not image 1. */
function writeSet(name: string, pairs: number, more: (i: number) => object = () => ({})): void {
  mkdirSync(join(root, name, "images"), { recursive: true });
  const rows = Array.from({ length: pairs }, (_, i) => {
    for (const which of [0, 1])
      writeFileSync(join(root, name, "images", `${i}_${which}.png`), imageOf(i, which));
    return { prompt: `prompt ${i}`, image_0: `images/${i}_0.png`, image_1: `images/${i}_1.png`, ...more(i) };
  });
  writeFileSync(join(root, name, "pairs.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

const imageOf = (i: number, which: number): Buffer => Buffer.concat([PIXEL, Buffer.from([i, which])]);
const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const auth = (): Record<string, string> => ({ authorization: `Bearer ${studio.token}` });
const get = (path: string): Promise<Response> =>
  studio.fetch(new Request(`${ORIGIN}${path}`, { headers: auth() }));
const json = async <T>(path: string): Promise<T> => (await get(path)).json() as Promise<T>;
const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  studio.fetch(
    new Request(`${ORIGIN}${path}`, {
      method: "POST",
      headers: { ...auth(), "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    }),
  );

const setId = async (): Promise<string> => (await json<JudgingList>("/api/judging")).sets[0]?.id as string;
const next = async (id: string, labeller: string, except = ""): Promise<NextPairs["next"]> =>
  (await json<NextPairs>(`/api/judging/${id}/next?labeller=${labeller}&except=${except}`)).next;

let votes = 0;
const ballot = (pair: string, answer: Answer, labeller = "anna", more = {}) => ({
  id: `vote-${++votes}-${labeller}`,
  ...{ pair, answer, labeller, seconds: 2, repeat: false, ...more },
});
const votesIn = (path: string): Vote[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));

test("a vote names the image that was clicked, on whichever side it stood", async () => {
  const id = await setId();
  const shownPairs = (await next(id, "anna")).slice(0, 8);
  for (const { pair, left } of shownPairs) {
    const clicked = new Uint8Array(await (await get(left)).arrayBuffer());
    expect((await post(`/api/judging/${id}/votes`, ballot(pair, "left"))).status).toBe(200);
    const vote = votesIn(join(root, "taste.votes.jsonl")).at(-1) as Vote;
    expect(vote.preference === 1 ? vote.image_0 : vote.image_1).toBe(hashOf(clicked));
    expect(vote).toMatchObject({
      labeller: "anna",
      asked: { pair, answer: "left", hasty: false, repeat: false },
    });
  }
  const sides = new Set(votesIn(join(root, "taste.votes.jsonl")).map(({ asked }) => asked?.left));
  expect(sides.size).toBe(2); // shuffled
});

test("sides are drawn by person and pair: about half of them left, and the other way round in a repeat", () => {
  const pairs = Array.from({ length: 1000 }, (_, i) => ({
    id: `p${i}`,
    prompt: "",
    files: ["a", "b"] as const,
  }));
  const left = pairs.filter((pair) => shown(pair, "anna", false).left === 0).length;
  expect(Math.abs(left - 500)).toBeLessThan(80); // five standard deviations
  const same = pairs.filter(
    (pair) => shown(pair, "anna", false).left === shown(pair, "ben", false).left,
  ).length;
  expect(Math.abs(same - 500)).toBeLessThan(80);
  for (const pair of pairs) expect(shown(pair, "anna", true).left).toBe(1 - shown(pair, "anna", false).left);
});

test("a pair that has its votes goes to nobody else, one that has fewer goes first, and nobody gets one twice", async () => {
  await studio.close();
  studio = open(2);
  const id = await setId();
  const [first] = await next(id, "anna");
  await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "tie"));
  expect((await next(id, "anna")).map(({ pair }) => pair)).not.toContain(first?.pair);
  expect((await next(id, "ben"))[0]?.pair).toBe(first?.pair);
  await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "right", "ben"));
  expect((await next(id, "carl")).map(({ pair }) => pair)).not.toContain(first?.pair);
  const given = await next(id, "carl");
  const more = await next(id, "carl", given.map(({ pair }) => pair).join(","));
  expect(new Set([...given, ...more].map(({ pair }) => pair)).size).toBe(given.length + more.length);
});

test("undo opens the pair again and stays in the file; skip is no vote of the pair", async () => {
  const id = await setId();
  const [first, second] = await next(id, "anna");
  await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "left"));
  await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "undo"));
  expect((await next(id, "anna"))[0]?.pair).toBe(first?.pair);
  expect(votesIn(join(root, "taste.votes.jsonl")).map(({ preference }) => preference === null)).toEqual([
    false,
    true,
  ]);
  await post(`/api/judging/${id}/votes`, ballot(second?.pair as string, "skip"));
  expect((await next(id, "anna")).map(({ pair }) => pair)).not.toContain(second?.pair);
  const bens: string[] = [];
  for (let more = await next(id, "ben"); more.length > 0; more = await next(id, "ben")) {
    bens.push(...more.map(({ pair }) => pair));
    for (const { pair } of more) await post(`/api/judging/${id}/votes`, ballot(pair, "tie", "ben"));
    if (bens.length > 60) break;
  }
  expect(bens).toContain(second?.pair);
});

test("after twenty pairs one comes again with sides swapped, and the results tell whether the person agrees", async () => {
  const id = await setId();
  const seen = new Map<string, string>();
  let repeated: NextPairs["next"][number] | undefined;
  for (let i = 0; i < 21; i++) {
    const [one] = await next(id, "anna");
    if (one?.repeat) {
      repeated = one;
      break;
    }
    seen.set(
      one?.pair as string,
      hashOf(new Uint8Array(await (await get(one?.left as string)).arrayBuffer())),
    );
    await post(`/api/judging/${id}/votes`, ballot(one?.pair as string, "left"));
  }
  expect(seen.size).toBe(20);
  const right = new Uint8Array(await (await get(repeated?.right as string)).arrayBuffer());
  expect(hashOf(right)).toBe(seen.get(repeated?.pair as string));
  await post(
    `/api/judging/${id}/votes`,
    ballot(repeated?.pair as string, "right", "anna", { repeat: true, seconds: 0.1 }),
  );
  const { labellers } = await json<JudgingResults>(`/api/judging/${id}/results`);
  expect(labellers).toMatchObject([{ name: "anna", votes: 20, repeats: 1, agreed: 1, hasty: 1 }]);
});

test("the results: who won, how sure, agreement, and a side that is favoured", async () => {
  await studio.close();
  studio = open(2);
  const id = await setId();
  const path = join(root, "taste.votes.jsonl");
  const anna = (await next(id, "anna")).slice(0, 10);
  for (const { pair } of anna) await post(`/api/judging/${id}/votes`, ballot(pair, "left"));
  for (const vote of votesIn(path).slice(0, 10)) {
    const { left, pair } = shown(
      { id: vote.asked?.pair as string, prompt: "", files: ["", ""] },
      "ben",
      false,
    ) as never as {
      left: number;
      pair: { id: string };
    };
    const same = vote.preference === 1 ? left === 0 : left === 1; // ben says the same of all but the first
    const agrees = vote !== votesIn(path)[0] && pair.id !== anna[0]?.pair;
    await post(`/api/judging/${id}/votes`, ballot(pair.id, same === agrees ? "left" : "right", "ben"));
  }
  const results = await json<JudgingResults>(`/api/judging/${id}/results`);
  expect(results.votes).toBe(20);
  expect(results.wins[0] + results.wins[1]).toBe(20);
  expect(results.rate?.value).toBeCloseTo(results.wins[1] / 20, 12);
  expect(results.visible).toBeCloseTo(0.219, 3);
  expect(results.agreement).toMatchObject({ by: "Cohen's κ", pairs: 10 });
  expect(results.agreement?.value).toBeGreaterThan(0.5);
  expect(results.agreement?.value).toBeLessThan(1);
  const [a] = results.labellers;
  expect(a?.left).toBe(1);
  expect(a?.leftP).toBeCloseTo(2 / 1024, 12); // ten of ten
});

test("a run's base is judged beside its newest samples", async () => {
  writeSpoRun(join(root, "run")).close();
  await studio.close();
  studio = open();
  const { runs } = await json<RunList>("/api/runs");
  const run = runs[0]?.id as string;
  const { set, next: pairs } = await json<NextPairs>(`/api/judging/${run}/next?labeller=anna`);
  expect(set).toMatchObject({ names: ["base", "step 3"], pairs: 2 });
  expect((await get(pairs[0]?.left as string)).headers.get("content-type")).toBe("image/png");
  await post(`/api/judging/${run}/votes`, ballot(pairs[0]?.pair as string, "tie"));
  expect(await json<JudgingResults>(`/api/judging/${run}/results`)).toMatchObject({
    ties: 1,
    rate: { value: 0.5 },
  });
  expect(votesIn(join(root, "run.votes.jsonl"))).toHaveLength(1);
});

test("a vote that is sent again is counted once, and one that cannot be kept is refused aloud", async () => {
  const id = await setId();
  const [first] = await next(id, "anna");
  const once = ballot(first?.pair as string, "left");
  for (let i = 0; i < 3; i++) expect((await post(`/api/judging/${id}/votes`, once)).status).toBe(200);
  expect(votesIn(join(root, "taste.votes.jsonl"))).toHaveLength(1);
  await studio.close();
  const other = await VoteLog.open(join(root, "taste.votes.jsonl")); // as another Studio would
  studio = open();
  const refused = await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "left"));
  expect([refused.status, (await refused.json()) as object]).toMatchObject([
    507,
    { message: /is being written by process/ },
  ]);
  await other.close();
  expect((await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "left"))).status).toBe(200);
});

test("a pair of gold comes after some, and only tells of the person who answers it", async () => {
  await studio.close();
  writeSet("taste", 30, (i) => (i < 3 ? { kind: "gold", label_0: 0, label_1: 1 } : {}));
  studio = createStudio({ runs: root, judging: { goldShare: 0.25 }, client: { script: "", style: "" } });
  const id = await setId();
  const asked: string[] = [];
  for (let i = 0; i < 12; i++) {
    const [one] = await next(id, "anna");
    asked.push(one?.prompt as string);
    const left = Buffer.from(await (await get(one?.left as string)).arrayBuffer());
    const isRight = left.at(-1) === (i === 3 ? 0 : 1); // image 1 is better; the first of gold is answered wrongly
    await post(`/api/judging/${id}/votes`, ballot(one?.pair as string, isRight ? "left" : "right"));
  }
  const gold = asked.flatMap((prompt, i) => (/^prompt [012]$/.test(prompt) ? [i] : []));
  expect(gold).toEqual([3, 7, 11]);
  const { votes, wins, labellers } = await json<JudgingResults>(`/api/judging/${id}/results`);
  expect([votes, wins]).toEqual([9, [0, 9]]);
  expect(labellers).toMatchObject([{ name: "anna", votes: 12, gold: 3, goldRight: 2 }]);
});

test("two models of a set are named in the results, whichever image was of which; no judge learns it", async () => {
  writeSet("taste", 40, (i) =>
    i % 2 ? { model_0: "base", model_1: "spo" } : { model_0: "spo", model_1: "base" },
  );
  const id = await setId();
  for (const { pair, prompt, left, ...rest } of await next(id, "anna")) {
    expect(JSON.stringify(rest)).not.toMatch(/base|spo/);
    const spo = Number(prompt.split(" ")[1]) % 2; // the image of it
    const bytes = Buffer.from(await (await get(left)).arrayBuffer());
    await post(`/api/judging/${id}/votes`, ballot(pair, bytes.at(-1) === spo ? "left" : "right"));
  }
  const { names, wins, rate } = await json<JudgingResults>(`/api/judging/${id}/results`);
  const of = names?.indexOf("spo") as number;
  expect([wins[of], wins[1 - of], rate?.value]).toEqual([10, 0, of]);
});

test("three models get strengths: who is chosen most stands first", async () => {
  const models = ["a", "b", "c"];
  writeSet("taste", 30, (i) => ({ model_0: models[i % 3], model_1: models[(i + 1) % 3] }));
  const id = await setId();
  for (let round = 0; round < 3; round++)
    for (const { pair, prompt, left } of await next(id, "anna")) {
      const i = Number(prompt.split(" ")[1]);
      const better = (models[i % 3] as string) > (models[(i + 1) % 3] as string) ? 0 : 1; // c before b before a
      const bytes = Buffer.from(await (await get(left)).arrayBuffer());
      await post(`/api/judging/${id}/votes`, ballot(pair, bytes.at(-1) === better ? "left" : "right"));
    }
  const found = await json<JudgingResults>(`/api/judging/${id}/results`);
  expect(found.models?.map(({ name }) => name)).toEqual(["c", "b", "a"]);
  for (const { strength } of found.models ?? []) expect(strength.low <= strength.high).toBe(true);
});

test("what a run asks people is a set of its own, and only what still waits is shown", async () => {
  const run = writeSpoRun(join(root, "asking"));
  writeSet("asking/human", 12, (i) => ({ open: i > 7, round: i, timestep: 501 }));
  await studio.close();
  studio = open();
  const { sets } = await json<JudgingList>("/api/judging");
  const id = sets.find(({ title }) => title === "asking/human")?.id as string;
  const given = await next(id, "anna");
  expect(given.map(({ prompt }) => prompt).sort()).toEqual([
    "prompt 10",
    "prompt 11",
    "prompt 8",
    "prompt 9",
  ]);
  await post(`/api/judging/${id}/votes`, ballot(given[0]?.pair as string, "left"));
  expect(votesIn(join(root, "asking", "human.votes.jsonl"))).toHaveLength(1);
  run.close();
});

test("a training on the votes waits in the queue; later ones have the next number and go on from the last that ended", async () => {
  const id = await setId();
  const training = async (): Promise<VotesTraining | undefined> =>
    (await json<JudgingResults>(`/api/judging/${id}/results`)).training;
  const train = async (anew: boolean): Promise<QueuedJob> =>
    (await (await post(`/api/judging/${id}/train`, { anew })).json()) as QueuedJob;
  expect(await training()).toBeUndefined();
  const refused = await post(`/api/judging/${id}/train`, { anew: false });
  expect([refused.status, await refused.json()]).toMatchObject([400, { hint: /spo train votes/ }]);
  await studio.close();
  /** A stand-in for the command: the first training ends at once, later ones when a file is there. */
  const command = join(root, "command.mjs");
  writeFileSync(
    command,
    `import { existsSync, mkdirSync } from "node:fs";
    const run = process.argv.at(-1);
    mkdirSync(run.endsWith("1") ? run + "/spo/model" : run, { recursive: true });
    if (!run.endsWith("1")) setInterval(() => existsSync(run + "/end") && process.exit(), 20);
    setTimeout(() => process.exit(4), 60_000).unref(); // outlives no test that was killed`,
  );
  const jobs = { command: [process.execPath, command] as const, kinds: {}, votes: ["--model", "./m"] };
  studio = createStudio({ runs: root, jobs, client: { script: "", style: "" } });
  const [first] = await next(id, "anna");
  await post(`/api/judging/${id}/votes`, ballot(first?.pair as string, "left"));

  expect(await training()).toEqual({ next: "taste-trained-1", jobs: [] });
  const set = join(realpathSync(root), "taste");
  expect(await train(false)).toMatchObject({
    ...{ run: "taste-trained-1", votes: 1, state: "running", device: "cpu" },
    command: `npx spo train votes ${set} --model ./m --run ${set}-trained-1`,
  });
  await expect.poll(async () => (await training())?.jobs[0]?.state, { timeout: 20_000 }).toBe("ended");
  expect(await training()).toMatchObject({ next: "taste-trained-2", from: "taste-trained-1" });
  const later = await train(false);
  expect(later.command).toMatch(/--model .\/m --from \S+taste-trained-1 --run \S+taste-trained-2$/);
  try {
    const waiting = await train(true);
    expect(waiting).toMatchObject({ run: "taste-trained-3", state: "waiting" }); // one training a device
    expect(waiting.command).not.toContain("--from");
    expect((await json<JobList>("/api/jobs")).jobs.map(({ run }) => run)).toHaveLength(3);
    expect((await post("/api/judging/none/train", { anew: false })).status).toBe(400);
    expect((await post(`/api/judging/${id}/train`, { set: "/etc" })).status).toBe(400);
  } finally {
    await expect.poll(() => existsSync(`${set}-trained-2`), { timeout: 20_000 }).toBe(true);
    writeFileSync(`${set}-trained-2/end`, "");
    await expect.poll(() => existsSync(`${set}-trained-3`), { timeout: 20_000 }).toBe(true);
    writeFileSync(`${set}-trained-3/end`, "");
    const isDone = async () => (await training())?.jobs.every(({ state }) => state === "ended");
    await expect.poll(isDone, { timeout: 20_000 }).toBe(true);
  }
});

describe("an invitation", () => {
  const invite = async (id: string, labeller: string): Promise<Invitation> =>
    (await (await post(`/api/judging/${id}/invites`, { labeller })).json()) as Invitation;
  const enter = async (path: string): Promise<string> => {
    const entered = await studio.fetch(new Request(`${ORIGIN}${path}`, { headers: { accept: "text/html" } }));
    return (entered.headers.get("set-cookie") ?? "").split(";")[0] as string;
  };
  const asGuest = (cookie: string, path: string, body?: unknown): Promise<Response> =>
    studio.fetch(
      new Request(`${ORIGIN}${path}`, {
        ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
        headers: { cookie, origin: ORIGIN, "content-type": "application/json" },
      }),
    );

  test("lets vote under its name, and do and see nothing else; it holds after a restart, and ends with its file", async () => {
    writeSpoRun(join(root, "run")).close();
    writeSet("other", 2);
    const sets = (await json<JudgingList>("/api/judging")).sets;
    const [id, other] = ["taste", "other"].map((name) => sets.find(({ title }) => title === name)?.id) as [
      string,
      string,
    ];
    const [run] = (await json<RunList>("/api/runs")).runs;
    const { path } = await invite(id, "bea");
    await studio.close();
    studio = open();
    const cookie = await enter(path);
    expect((await asGuest(cookie, `/judge/${id}?as=bea`)).status).toBe(200);
    const given = (await (await asGuest(cookie, `/api/judging/${id}/next?labeller=bea`)).json()) as NextPairs;
    const [first] = given.next as [NextPairs["next"][number]];
    expect((await asGuest(cookie, first.left)).status).toBe(200);
    const votesPath = `/api/judging/${id}/votes`;
    expect((await asGuest(cookie, votesPath, ballot(first.pair, "left", "anna"))).status).toBe(400);
    expect((await asGuest(cookie, votesPath, ballot(first.pair, "left", "bea"))).status).toBe(200);
    const refused = [
      "/",
      "/api/runs",
      "/judge",
      "/api/judging",
      `/judge/${id}/results`,
      `/api/judging/${id}/results`,
      `/api/judging/${id}/next?labeller=anna`,
      `/api/judging/${other}/next?labeller=bea`,
      `/api/runs/${run?.id}/page`,
      `/api/runs/${run?.id}/samples/0/0`,
    ];
    for (const each of refused) expect((await asGuest(cookie, each)).status, each).toBe(403);
    expect((await asGuest(cookie, `/api/judging/${id}/invites`, { labeller: "x" })).status).toBe(403);
    expect((await asGuest(cookie, `/api/judging/${other}/votes`, ballot("x", "left", "bea"))).status).toBe(
      403,
    );
    rmSync(join(root, "taste.invites.jsonl"));
    expect((await asGuest(cookie, `/api/judging/${id}/next?labeller=bea`)).status).toBe(401);
  });

  test("of another set, a changed one and none are refused; the file holds no secret", async () => {
    const id = await setId();
    const { path } = await invite(id, "bea");
    const secret = path.split(".").at(-1) as string;
    expect(readFileSync(join(root, "taste.invites.jsonl"), "utf8")).not.toContain(secret);
    for (const wrong of [`/?invite=none.${secret}`, `${path}x`, "/?invite=", `/?invite=${id}`])
      expect((await studio.fetch(new Request(`${ORIGIN}${wrong}`))).status, wrong).toBe(403);
    expect((await post(`/api/judging/${id}/invites`, { labeller: " " })).status).toBe(400);
  });
});

describe("refused is", () => {
  test.each([
    ["an answer that there is not", { answer: "up" }, 400],
    ["no person", { labeller: " " }, 400],
    ["a time before", { seconds: -1 }, 400],
    ["a setting more", { preference: 1 }, 400],
    ["a pair that there is not", { pair: "none" }, 404],
  ])("%s", async (_, change, status) => {
    const id = await setId();
    const [first] = await next(id, "anna");
    const body = { ...ballot(first?.pair as string, "left"), ...change };
    expect((await post(`/api/judging/${id}/votes`, body)).status).toBe(status);
  });

  test("a vote that another site sends", async () => {
    const id = await setId();
    const [first] = await next(id, "anna");
    const body = ballot(first?.pair as string, "left");
    for (const headers of [
      { "sec-fetch-site": "cross-site" },
      { origin: "http://evil.example" },
      { "content-type": "text/plain" },
    ] as Record<string, string>[])
      expect((await post(`/api/judging/${id}/votes`, body, headers)).status).toBe(403);
    expect((await json<JudgingResults>(`/api/judging/${id}/results`)).votes).toBe(0);
  });

  test("an image that lies outside of the set", async () => {
    writeFileSync(join(root, "secret.png"), PIXEL);
    const row = { prompt: "p", image_0: "../secret.png", image_1: join(root, "secret.png") };
    writeFileSync(join(root, "taste", "pairs.jsonl"), `${JSON.stringify(row)}\n`);
    const id = await setId();
    const [only] = await next(id, "anna");
    for (const src of [only?.left, only?.right]) expect((await get(src as string)).status).toBe(404);
    expect((await post(`/api/judging/${id}/votes`, ballot(only?.pair as string, "left"))).status).toBe(404);
  });

  test("a list with a line that is no pair, by its number", async () => {
    writeFileSync(join(root, "taste", "pairs.jsonl"), '{"prompt":"p","image_0":"a","image_1":"b"}\n{}\n');
    const answer = await get(`/api/judging/${await setId()}/next?labeller=anna`);
    expect(await answer.json()).toMatchObject({
      message: expect.stringMatching(/line 2 is no pair/),
      hint: expect.any(String),
    });
  });
});
