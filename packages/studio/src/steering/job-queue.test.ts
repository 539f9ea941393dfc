// A stand-in for the command: it makes its run, and ends when its folder asks it.
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { askRun } from "@spo/records";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Job, JobQueue, JobWish } from "./job-queue.js";

let root: string;
let queue: JobQueue;
let command: [string, ...string[]];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "spo-queue-"));
  const records = fileURLToPath(new URL("../../../records/dist/index.js", import.meta.url));
  writeFileSync(
    join(root, "command.mjs"),
    `import { appendFileSync } from "node:fs";
    import { Run } from ${JSON.stringify(records)};
    const folder = process.argv.at(-1);
    appendFileSync(${JSON.stringify(join(root, "starts"))}, folder.at(-1));
    if (folder.endsWith("bad")) { console.error("the settings are bad"); process.exit(3); }
    const run = Run.open(folder, { kind: "train spo", config: {} });
    setInterval(() => { if (run.takeRequests().length) { run.close(); process.exit(0); } }, 20);
    setTimeout(() => process.exit(4), 120_000); // outlives no test that was killed`,
  );
  command = [process.execPath, join(root, "command.mjs")];
  queue = new JobQueue(root, command);
});
afterEach(async () => {
  /** Asked again and again: a run takes nothing that was asked before it was opened. */
  const running = (): boolean => {
    queue.look();
    const at = queue.list().filter(({ state }) => state === "running");
    for (const { run } of at) if (existsSync(join(root, run))) askRun(join(root, run), "stop");
    return at.length > 0;
  };
  await expect.poll(running, { timeout: 20_000 }).toBe(false);
  queue.close();
  rmSync(root, { recursive: true });
}, 30_000);

const wish = (run: string, device = "cpu"): JobWish => ({
  kind: "train spo",
  config: { device, rank: 2 },
  run,
});
const states = (): string[] => {
  queue.look();
  const byRun = queue.list().sort((a, b) => (a.run < b.run ? -1 : 1));
  return byRun.map(({ state }) => state);
};

test("one job a device works; the next one starts when it ends, and a restarted server goes on with the queue", async () => {
  for (const [run, device] of [
    ["a", "cpu"],
    ["b", "cpu"],
    ["c", "cuda"],
  ] as const)
    queue.add(wish(run, device));
  expect(states()).toEqual(["running", "waiting", "running"]);
  expect(queue.list()[0]?.command).toMatch(/^npx spo train spo \S+\.json --run \S+\/a$/);
  await expect.poll(() => existsSync(join(root, "a", "events.jsonl")), { timeout: 20_000 }).toBe(true);
  await expect.poll(() => existsSync(join(root, "c", "events.jsonl")), { timeout: 20_000 }).toBe(true);
  expect(() => new JobQueue(root, command)).toThrow(expect.objectContaining({ code: "RESOURCE" }));

  queue.close();
  queue = new JobQueue(root, command);
  expect(states()).toEqual(["running", "waiting", "running"]); // the processes outlived the server
  askRun(join(root, "a"), "stop");
  await expect.poll(states, { timeout: 20_000 }).toEqual(["ended", "running", "running"]);
  await expect.poll(() => existsSync(join(root, "b", "events.jsonl")), { timeout: 20_000 }).toBe(true);
  expect([...readFileSync(join(root, "starts"), "utf8")].sort()).toEqual(["a", "b", "c"]); // by one server each
});

test("a job that fails says so and what was said, and lets the next one start", async () => {
  queue.add(wish("bad"));
  await expect.poll(states, { timeout: 20_000 }).toEqual(["failed"]);
  expect(queue.list()[0]?.said).toEqual(["the settings are bad"]);
});

test("one that waits can be taken out, one at work not; a run's name is taken once", async () => {
  const [first, second] = [queue.add(wish("a")), queue.add(wish("b"))];
  expect(() => queue.add(wish("b"))).toThrow(/There is a run b already/);
  expect(() => queue.cancel(first.id)).toThrow(/does not wait/);
  queue.cancel(second.id);
  expect(states()).toEqual(["running", "cancelled"]);
  await expect.poll(() => existsSync(join(root, "a", "events.jsonl")), { timeout: 20_000 }).toBe(true);
});

test("one that stopped before its training's end can go on by the same command, once; one that reached it not", async () => {
  const { id, command: words } = queue.add(wish("a"));
  await expect.poll(() => existsSync(join(root, "a", "events.jsonl")), { timeout: 20_000 }).toBe(true);
  expect(() => queue.goOn(id)).toThrow(/cannot go on/);
  askRun(join(root, "a"), "stop");
  await expect.poll(states, { timeout: 20_000 }).toEqual(["ended"]);
  expect(queue.list()[0]?.canGoOn).toBe(true);
  expect(queue.goOn(id)).toMatchObject({ run: "a", state: "running", command: words });
  expect(() => queue.goOn(id)).toThrow(/cannot go on/);
  await expect.poll(() => readFileSync(join(root, "starts"), "utf8"), { timeout: 20_000 }).toBe("aa");
  // A run takes nothing that was asked before it was opened.
  const stopped = (): string[] => {
    askRun(join(root, "a"), "stop");
    return states();
  };
  await expect.poll(stopped, { timeout: 20_000 }).toEqual(["ended", "ended"]);
  appendFileSync(join(root, "a", "events.jsonl"), '{"type":"done","result":{}}\n');
  expect(queue.list().map(({ canGoOn }) => canGoOn)).toEqual([false, false]);
});

test("those that wait start in the order that is asked for, also after a restart; a new one comes last", async () => {
  const order = () => queue.list().map(({ run }) => run);
  const [, b, , d] = ["a", "b", "c", "d"].map((run) => queue.add(wish(run))) as [Job, Job, Job, Job];
  queue.move(d.id, 0);
  queue.move(b.id, 9);
  expect(order()).toEqual(["a", "d", "c", "b"]);
  queue.add(wish("e"));
  queue.close();
  queue = new JobQueue(root, command);
  expect(order()).toEqual(["a", "d", "c", "b", "e"]);
  expect(() => queue.move(queue.list()[0]?.id as string, 1)).toThrow(/does not wait/);
  await expect.poll(() => existsSync(join(root, "a", "events.jsonl")), { timeout: 20_000 }).toBe(true);
  askRun(join(root, "a"), "stop");
  await expect.poll(() => existsSync(join(root, "d", "events.jsonl")), { timeout: 20_000 }).toBe(true);
  for (const { id, state } of queue.list()) if (state === "waiting") queue.cancel(id);
  expect(states()).toEqual(["ended", "cancelled", "cancelled", "running", "cancelled"]);
});

test("a conversion is told where to write, and cannot go on", async () => {
  const job = queue.addWords({ kind: "convert", run: "bad", words: ["model"], device: "disk" });
  expect(job.command).toMatch(/^npx spo convert model --output \S+\/bad$/);
  await expect.poll(states, { timeout: 20_000 }).toEqual(["failed"]);
  expect(queue.list()[0]?.canGoOn).toBe(false);
});

test("the file that the command reads is what the form gave", () => {
  const { id } = queue.add(wish("bad"));
  expect(JSON.parse(readFileSync(join(root, ".queue", `${id}.json`), "utf8"))).toEqual({
    device: "cpu",
    rank: 2,
  });
});

test.each(["../x", "/x", "a/../b", ".x", "a b", "", "a//b", "a;b", "x\n"])(
  "a run cannot be called %j",
  (run) => {
    expect(JobWish.safeParse(wish(run)).success).toBe(false);
  },
);
