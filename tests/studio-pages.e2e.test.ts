// Every page of Studio in light, in dark and on a phone: no fault of access, nothing wider than the page, no word in the console.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GridList, JudgingList, RunList } from "@spo/studio";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PIXEL, writeSpoRun } from "../packages/studio/src/run-folders.fixture.js";
import { openBrowser, withoutBrowser } from "./browser.js";
import { type StudioProcess, startStudio } from "./studio-server.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "spo-pages-e2e-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** A set of which each kind of pair is there, and votes of two people. */
function writeSet(): void {
  mkdirSync(join(root, "set"));
  writeFileSync(join(root, "set", "0.png"), PIXEL);
  writeFileSync(join(root, "set", "1.png"), Buffer.concat([PIXEL, Buffer.from([1])]));
  const pairs = [
    { image_0: "0.png", image_1: "1.png", label_0: 1, label_1: 0, split: "train" },
    { image_0: "1.png", image_1: "0.png", label_0: 0.5, label_1: 0.5, split: "test" },
    { image_0: "0.png", image_1: "0.png", has_label: false },
    { image_0: "0.png", image_1: "gone.png", has_label: false },
  ];
  writeFileSync(
    join(root, "set", "pairs.jsonl"),
    lines(pairs.map((pair, i) => ({ prompt: `thing ${i >> 1}`, ...pair }))),
  );
}

function writeGrid(): void {
  mkdirSync(join(root, "grid"));
  writeFileSync(join(root, "grid", "0.png"), PIXEL);
  const axes = ["guidance", "seed", "prompt"].map((name) => ({ name, values: ["1", "2"] }));
  const images = Array.from({ length: 8 }, (_, i) => ({
    ...{ file: "0.png", at: [i % 2, (i >> 1) % 2, i >> 2], parameters: { guidance: i % 2, steps: 20 } },
  }));
  writeFileSync(join(root, "grid", "grid.json"), JSON.stringify({ schema: "spo.grid/1", axes, images }));
}

/** Jobs in every state: one at work in this process, two that wait for its device, one that failed, two trainings on the set's votes. */
function writeQueue(): void {
  mkdirSync(join(root, ".queue"));
  const at = (day: number): string => `2026-01-0${day}T00:00:00.000Z`;
  const jobs = [
    { run: "working", started: new Date().toISOString(), pid: process.pid },
    { run: "b" },
    { run: "c" },
    { run: "failed", started: at(1), ended: at(2), code: 3 },
    {
      run: "set-trained-1",
      kind: "train votes",
      words: [join(root, "set")],
      votes: 2,
      started: at(1),
      ended: at(2),
      code: 0,
    },
  ];
  for (const [i, job] of jobs.entries()) {
    const whole = {
      kind: "train dpo",
      words: ["x.json"],
      device: "cpu",
      id: `1-${i}`,
      added: at(i + 1),
      ...job,
    };
    writeFileSync(join(root, ".queue", `1-${i}.job.json`), JSON.stringify(whole));
  }
  writeFileSync(join(root, ".queue", "1-3.log"), "error: there is no model\n");
  mkdirSync(join(root, "set-trained-1", "spo", "model"), { recursive: true });
}

describe.skipIf(withoutBrowser)("every page", () => {
  let browser: Browser;
  let studio: StudioProcess;
  let page: Page;
  const faults: string[] = [];

  beforeAll(async () => {
    browser = await openBrowser();
    const run = writeSpoRun(join(root, "first"));
    writeSpoRun(join(root, "second")).close();
    mkdirSync(join(root, "first", "model"));
    writeFileSync(join(root, "first", "model", "model_index.json"), "{}");
    writeSet();
    writeGrid();
    writeQueue();
    studio = await startStudio(root, "--allow-start", "--train", "--model ./m");
    const context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
    await context.addInitScript(AXE);
    page = await context.newPage();
    page.on("pageerror", (error) => faults.push(error.message));
    page.on(
      "console",
      (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()),
    );
    await page.goto(studio.url);
    await page.waitForSelector("tbody tr");
    return () => run.close();
  });
  afterAll(async () => {
    await browser?.close();
    await studio?.stop();
  });

  /** All rules in light and on a phone; in dark those of colours, all else being the same. */
  async function check(what: string): Promise<void> {
    for (const [name, colorScheme, width, rules] of [
      ["light", "light", 1200, "{}"],
      ["dark", "dark", 1200, "{ runOnly: ['color-contrast', 'link-in-text-block'] }"],
      ["dark, 390 px", "dark", 390, "{}"],
    ] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      const violations = await page.evaluate(
        `axe.run(${rules}).then(({ violations }) => violations.map(({ id, nodes }) => id + " " + nodes.map(({ html }) => html).join(" ").slice(0, 300)))`,
      );
      expect(violations, `${what}, ${name}`).toEqual([]);
      const over = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      expect(over, `${what}, ${name}`).toBeLessThanOrEqual(0);
      if (process.env.SPO_PICTURES)
        await page.screenshot({ path: join(process.env.SPO_PICTURES, `${what}-${name}.png`) });
    }
    await page.setViewportSize({ width: 1200, height: 900 });
  }

  test("is usable by everyone in light, in dark and on a phone", async () => {
    const get = async <T>(path: string): Promise<T> => (await (await studio.get(path)).json()) as T;
    const runs = (await get<RunList>("/api/runs")).runs;
    const run = runs.find(({ name }) => name === "first")?.id;
    const set = (await get<JudgingList>("/api/judging")).sets[0]?.id;
    const grid = (await get<GridList>("/api/grids")).grids[0]?.id;
    const open = async (path: string, drawn: string): Promise<void> => {
      await page.goto(`${studio.origin}${path}`);
      await page.locator(drawn).first().waitFor();
    };
    const closeDialog = async (): Promise<void> => {
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
    };
    const views: [path: string, drawn: string][] = [
      ["/", "tbody tr"],
      [`/runs/${run}`, ".facts"],
      [`/runs/${run}/steps`, ".strip img"],
      [`/runs/${run}/samples`, ".slider"],
      [`/runs/${run}/curves`, "canvas"],
      [`/runs/${run}/log`, ".log li"],
      [`/runs/${run}/settings`, "td"],
      ["/judge", "main li"],
      ["/data", "main li"],
      [`/data/${set}`, ".pair-rows img"],
      ["/grids", "main li"],
      [`/grids/${grid}`, "tbody img"],
      [`/grids/${run}`, "tbody img"],
      ["/start", ".field"],
      ["/nothing", "h1"],
    ];
    for (const [path, drawn] of views) {
      await open(path, drawn);
      await check(path);
    }

    await open(`/runs/${run}/steps`, ".strip .picture");
    await page.locator(".strip .picture").first().click();
    await page.waitForSelector("dialog[open]");
    for (const mode of ["side by side", "slider", "difference"]) {
      await page.getByRole("button", { name: mode }).click();
      await check(`two pictures, ${mode}`);
    }
    await closeDialog();
    await open(`/data/${set}`, ".pair-rows .picture");
    await page.locator(".pair-rows .picture").first().click();
    await page.waitForSelector("dialog[open]");
    await check("a pair of a set");
    await closeDialog();

    await open(`/judge/${set}`, "input");
    await check("who judges");
    await page.getByRole("textbox").fill("anna");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".choices:not(.waiting)");
    await page.keyboard.press("?");
    await check("a pair to judge, with the keys");
    await page.waitForTimeout(300); // nobody answers sooner
    await page.keyboard.press("ArrowLeft");
    await open(`/judge/${set}/results`, "tbody tr");
    await page.getByRole("button", { name: "Train set-trained-2" }).waitFor();
    await check("votes so far");
    expect(faults.filter((words) => !/status of 404/.test(words))).toEqual([]); // of a picture that is not there

    const stranger = await browser.newContext();
    await stranger.addInitScript(AXE);
    page = await stranger.newPage();
    await page.goto(studio.origin);
    await check("closed to strangers");
  });
});
