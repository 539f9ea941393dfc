// Votes survive whatever happens to the server, and become labels that a preference model is trained on.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openPairs } from "@spo/data";
import type { Vote } from "@spo/records";
import type { JudgingList, JudgingResults, NextPairs } from "@spo/studio";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBrowser, withoutBrowser } from "./browser.js";
import { cli } from "./cli.js";
import { type StudioProcess, startStudio } from "./studio-server.js";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "spo-votes-e2e-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A folder beside which runs would lie, with a set of pairs: image 0 is red, image 1 blue. */
async function writeSet(name: string, pairs: number): Promise<{ runs: string; votes: () => Vote[] }> {
  const runs = join(root, name);
  mkdirSync(join(runs, "set", "images"), { recursive: true });
  const rows: string[] = [];
  for (let i = 0; i < pairs; i++) {
    for (const [which, colour] of ["red", "blue"].entries())
      await sharp({ create: { width: 16, height: 16 + (i % 8), channels: 3, background: colour } })
        .png()
        .toFile(join(runs, "set", "images", `${i}_${which}.png`));
    rows.push(
      JSON.stringify({
        prompt: `thing ${i}`,
        image_0: `images/${i}_0.png`,
        image_1: `images/${i}_1.png`,
        has_label: false,
      }),
    );
  }
  writeFileSync(join(runs, "set", "pairs.jsonl"), `${rows.join("\n")}\n`);
  const votes = (): Vote[] =>
    readFileSync(join(runs, "set.votes.jsonl"), "utf8")
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  return { runs, votes };
}

const setOf = async (studio: StudioProcess): Promise<string> => {
  const { sets } = (await (await studio.get("/api/judging")).json()) as JudgingList;
  return sets[0]?.id as string;
};

const [JUDGES, VOTES, KILLS] = [20, 500, 20];

test(`${JUDGES} judges give ${VOTES} votes each while the server is killed ${KILLS} times: none is lost, none counts twice`, async () => {
  const { runs, votes } = await writeSet("killed", VOTES);
  const more = ["--votes-per-pair", String(JUDGES)];
  let studio = await startStudio(runs, ...more);
  const id = await setOf(studio);
  const { set } = (await (await studio.get(`/api/judging/${id}/next?labeller=x`)).json()) as NextPairs;
  expect(set.pairs).toBe(VOTES);
  const sent = new Map<string, number>();
  let acknowledged = 0;

  /** Sends until it is acknowledged, as the page does; a tenth of all is sent twice on top of that. */
  const send = async (vote: { id: string }): Promise<void> => {
    for (let twice = Number(sent.size % 10 === 0); ; ) {
      sent.set(vote.id, (sent.get(vote.id) ?? 0) + 1);
      const { origin, token } = studio;
      const answer = await fetch(`${origin}/api/judging/${id}/votes`, {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify(vote),
      }).catch(() => undefined);
      if (answer?.ok && twice-- === 0) return;
      if (!answer?.ok) await sleep(50);
    }
  };
  const pairs = new Set<string>();
  for (let except = ""; pairs.size < VOTES; ) {
    const { next } = (await (
      await studio.get(`/api/judging/${id}/next?labeller=reader&except=${except}`)
    ).json()) as NextPairs;
    for (const { pair } of next) pairs.add(pair);
    // Who reads answers too, so that others come.
    for (const { pair } of next) {
      const vote = {
        id: `reader-${pair}`,
        pair,
        labeller: "reader",
        answer: "tie",
        seconds: 1,
        repeat: false,
      };
      await send(vote);
    }
    except = "";
  }
  const judge = async (labeller: string): Promise<void> => {
    for (const [i, pair] of [...pairs].entries()) {
      await send({
        id: `${labeller}-${i}-${pair}`,
        ...{ pair, labeller, answer: "left", seconds: 1, repeat: false },
      } as { id: string });
      acknowledged++;
    }
  };
  const killing = (async () => {
    for (let kill = 1; kill <= KILLS; kill++) {
      const until = (kill * JUDGES * VOTES) / (KILLS + 1);
      while (acknowledged < until) await sleep(5);
      studio.process.kill("SIGKILL");
      await studio.ended;
      studio = await startStudio(runs, ...more);
    }
  })();
  await Promise.all([killing, ...Array.from({ length: JUDGES }, (_, i) => judge(`judge ${i}`))]);
  const { stderr, code } = await studio.stop();
  expect([code, stderr]).toEqual([0, ""]);
  const kept = votes().map((vote) => vote.id);
  expect(kept.length).toBe((JUDGES + 1) * VOTES);
  expect(new Set(kept)).toEqual(new Set(sent.keys()));
  expect([...sent.values()].filter((times) => times > 1).length).toBeGreaterThan(VOTES); // many were sent again
});

test("votes become labels of the set, and each is for the image that was chosen", async () => {
  const { runs, votes } = await writeSet("labels", 12);
  const studio = await startStudio(runs);
  const id = await setOf(studio);
  const { next } = (await (await studio.get(`/api/judging/${id}/next?labeller=anna`)).json()) as NextPairs;
  for (const { pair, left } of next) {
    const picture = Buffer.from(await (await studio.get(left)).arrayBuffer());
    const { data } = await sharp(picture).raw().toBuffer({ resolveWithObject: true });
    const answer = (data[2] as number) > 128 ? "left" : "right"; // anna likes blue
    const headers = { authorization: `Bearer ${studio.token}`, "content-type": "application/json" };
    const vote = { id: `vote-${pair}`, pair, labeller: "anna", answer, seconds: 1, repeat: false };
    const kept = await fetch(`${studio.origin}/api/judging/${id}/votes`, {
      method: "POST",
      headers,
      body: JSON.stringify(vote),
    });
    expect(kept.status).toBe(200);
  }
  await studio.stop();
  expect(votes()).toHaveLength(next.length);
  const labelled = join(root, "labelled.parquet");
  const args = [
    "data",
    "import",
    join(runs, "set"),
    "--votes",
    join(runs, "set.votes.jsonl"),
    "--output",
    labelled,
  ];
  expect((await cli(args)).code).toBe(0);
  const source = await openPairs(labelled);
  const facts = (await Promise.all(source.blocks.map((_, block) => source.facts(block)))).flat();
  await source.close();
  expect(facts).toHaveLength(12);
  expect(facts.filter(({ labelled }) => labelled)).toHaveLength(next.length);
  for (const { labelled, label0 } of facts) if (labelled) expect(label0).toBe(0); // blue is image 1
});

describe.skipIf(withoutBrowser)("the page of judging", () => {
  test("by keys alone, blind, with undo; votes wait while the server is away, also over a reload", async () => {
    const { runs, votes } = await writeSet("page", 12);
    let studio = await startStudio(runs, "--port", "0");
    const browser = await openBrowser();
    const page = await (await browser.newContext({ viewport: { width: 390, height: 800 } })).newPage();
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(error.message));
    await page.goto(studio.url);
    await page.getByRole("link", { name: "Judge" }).click();
    await page.getByRole("link", { name: "set" }).click();
    await page.getByRole("textbox").fill("anna");
    await page.keyboard.press("Enter");
    const prompt = () => page.locator(".essence").innerText();
    /** Waits for the pair after `before`, until it may be answered. */
    const pairAfter = async (before: string): Promise<string> => {
      const isNew = `document.querySelector(".choices:not(.waiting)") !== null && document.querySelector(".essence").textContent !== ${JSON.stringify(before)}`;
      await expect.poll(() => page.evaluate(isNew), { timeout: 10_000 }).toBe(true);
      await sleep(300);
      return prompt();
    };
    const first = await pairAfter("");
    for (const src of (await page.evaluate(
      "[...document.querySelectorAll('.choices img')].map(({ src }) => src)",
    )) as string[])
      expect(src).not.toMatch(/images|_0|_1|red|blue/);
    await page.keyboard.press("ArrowLeft");
    const second = await pairAfter(first);
    await page.keyboard.press("z");
    expect(await pairAfter(second)).toBe(first);
    await page.keyboard.press("ArrowDown");
    await pairAfter(first);
    await expect
      .poll(() => votes().map(({ asked }) => asked?.answer), { timeout: 20_000 })
      .toEqual(["left", "undo", "tie"]);

    studio.process.kill("SIGKILL");
    await studio.ended;
    const third = await prompt();
    await page.locator(".choices button").first().click();
    await pairAfter(third);
    await expect
      .poll(() => page.locator(".fault[role=alert]").innerText())
      .toMatch(/1 vote is not stored yet/);
    const port = new URL(studio.url).port;
    studio = await startStudio(runs, "--port", port);
    await page.goto(studio.url); // its new address: the page is loaded anew
    await page.waitForSelector("h1");
    await page.getByRole("link", { name: "Judge" }).click();
    await page.getByRole("link", { name: "set" }).click();
    await expect.poll(() => votes().length, { timeout: 20_000 }).toBe(4);
    const id = await setOf(studio);
    const results = (await (await studio.get(`/api/judging/${id}/results`)).json()) as JudgingResults;
    expect(results).toMatchObject({ votes: 2, ties: 1 });
    await page.goto(`${studio.origin}/judge/${id}/results`);
    await page.waitForSelector("tbody tr");
    expect(await page.locator("tbody").innerText()).toMatch(/anna/);
    await page.getByRole("textbox").fill("bea");
    await page.keyboard.press("Enter");
    const link = await page.locator("input[readonly]").inputValue();
    const guest = await (await browser.newContext()).newPage();
    await guest.goto(link);
    await guest.waitForSelector(".choices:not(.waiting)");
    await sleep(300);
    await guest.keyboard.press("ArrowRight");
    await expect.poll(() => votes().at(-1)?.labeller, { timeout: 20_000 }).toBe("bea");
    expect(await guest.locator("header a").count()).toBe(0);
    await guest.goto(studio.origin);
    expect(await guest.textContent("body")).toMatch(/for judging alone/);
    expect(faults).toEqual([]);
    await browser.close();
    await studio.stop();
  });
});
