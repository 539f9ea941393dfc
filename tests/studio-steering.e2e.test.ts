// What people do to runs in a real browser: notes, requests, trash, starting, grids.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PIXEL, writeSpoRun } from "../packages/studio/src/run-folders.fixture.js";
import { openBrowser, withoutBrowser } from "./browser.js";
import { type StudioProcess, startStudio } from "./studio-server.js";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "spo-steering-e2e-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const SOON = { timeout: 20_000 };

describe.skipIf(withoutBrowser)("the page", () => {
  let browser: Browser;
  let studio: StudioProcess;
  let page: Page;
  const faults: string[] = [];
  const run = () => writeSpoRun(join(root, "first"));
  let first: ReturnType<typeof run>;

  beforeAll(async () => {
    browser = await openBrowser();
    first = run();
    writeSpoRun(join(root, "second")).close();
    mkdirSync(join(root, "grid"));
    writeFileSync(join(root, "grid", "0.png"), PIXEL);
    const axes = ["<b>guidance</b>", "seed", "prompt"].map((name) => ({ name, values: ["1", "2"] }));
    const images = Array.from({ length: 8 }, (_, i) => ({
      ...{ file: "0.png", at: [i % 2, (i >> 1) % 2, i >> 2], parameters: { guidance: i % 2, steps: 20 } },
    }));
    writeFileSync(join(root, "grid", "grid.json"), JSON.stringify({ schema: "spo.grid/1", axes, images }));
    mkdirSync(join(root, "set"));
    writeFileSync(join(root, "set", "0.png"), PIXEL);
    const pairs = Array.from({ length: 500 }, (_, i) => ({
      ...{
        prompt: `<img src=x onerror=alert(${i})>`,
        image_0: "0.png",
        image_1: i === 7 ? "gone.png" : "0.png",
      },
      ...{ label_0: i % 2, label_1: 1 - (i % 2) },
    }));
    writeFileSync(
      join(root, "set", "pairs.jsonl"),
      pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(""),
    );
    studio = await startStudio(root, "--allow-start");
    page = await (await browser.newContext({ viewport: { width: 1200, height: 900 } })).newPage();
    page.on("pageerror", (error) => faults.push(error.message));
    page.on(
      "console",
      (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()),
    );
    await page.goto(studio.url);
    await page.waitForSelector("tbody tr");
  });
  afterAll(async () => {
    // A browser notes each refusal of a form and each picture that is not there, too.
    expect(faults.filter((fault) => !/status of 40[04]/.test(fault))).toEqual([]);
    await browser?.close();
    await studio?.stop();
    first?.close();
  });

  test("a run at work is asked to save, one that is not is noted, deleted and had back", async () => {
    await page.getByRole("link", { name: "first" }).click();
    await page.getByRole("button", { name: "Save now" }).click();
    await expect.poll(() => first.takeRequests(), SOON).toEqual(["save"]);
    await page.getByLabel("Tags").fill("good, <i>lr</i>");
    await page.getByLabel("Note").fill("the first one");
    await page.getByRole("button", { name: "Keep" }).click();
    await expect.poll(() => page.getByText("Kept in the run's folder.").count(), SOON).toBe(1);
    const kept = page.waitForEvent("download");
    await page.getByRole("link", { name: "Keep as one HTML file" }).click();
    expect(readFileSync(await (await kept).path(), "utf8")).toContain("<h1>SPO training: first</h1>");

    await page.goto(studio.origin);
    await page.getByRole("link", { name: "second" }).click();
    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("button", { name: "Really move it to the trash?" }).click();
    await page.getByText(/second is now \.trash/).waitFor();
    await expect.poll(() => page.locator("tbody tr").count(), SOON).toBe(1);
    expect(await page.locator(".tag").allInnerTexts()).toEqual(["good", "<i>lr</i>"]);
    await page.getByRole("button", { name: "Undo" }).click();
    await page.getByRole("heading", { name: /second/ }).waitFor();
  });

  test("a grid turns its sides, and two pictures are laid against each other", async () => {
    await page.goto(`${studio.origin}/grids`);
    await page.getByRole("link", { name: "grid", exact: true }).click();
    await expect.poll(() => page.locator("tbody img").count(), SOON).toBe(4);
    await page.getByLabel(/Columns/).selectOption("201");
    expect(await page.locator("thead th").last().innerText()).toBe("prompt 2");
    await page.getByLabel(/Columns/).selectOption("012");
    await page.locator("tbody .picture").nth(0).click();
    await page.locator("tbody .picture").nth(1).click();
    await page.waitForSelector("dialog[open]");
    expect(await page.locator("dialog").innerText()).toMatch(/guidance: 0 and 1/);
    await page.getByRole("button", { name: "slider" }).click();
    await page.locator("dialog input[type=range]").fill("20");
    await page.keyboard.press("Escape");
  });

  test("a set shows its figures, the pairs that are seen, and those that are broken", async () => {
    await page.goto(`${studio.origin}/data`);
    await page.getByRole("link", { name: "set" }).click();
    await expect
      .poll(() => page.locator(".essence").innerText(), SOON)
      .toMatch(/500 pairs of 500 prompts; 500 to look at/);
    expect(await page.locator(".pair-rows li").count()).toBeLessThan(60);
    await page.getByLabel("To look at").selectOption("broken");
    await expect.poll(() => page.locator(".pair-rows li").count(), SOON).toBe(1);
    expect(await page.locator(".pair-rows li").innerText()).toMatch(/onerror=alert\(7\)/);
    await page.locator(".pair-rows .picture").click();
    await page.waitForSelector("dialog[open]");
    await page.keyboard.press("Escape");
  });

  test("a form gives the file and the forecast, says what is wrong, and puts a training into the queue", async () => {
    await page.goto(`${studio.origin}/start`);
    await page.getByLabel("Training").selectOption("train dpo");
    await page.getByLabel("steps", { exact: true }).fill("2");
    await expect.poll(() => page.locator("aside").innerText(), SOON).toMatch(/"steps": 2/);
    await page.getByLabel("model", { exact: true }).fill(join(root, "no-model"));
    await page.getByLabel("pairs", { exact: true }).fill(join(root, "no-pairs"));
    await page.getByLabel("Run's name").fill("../x");
    await page.getByRole("button", { name: "Put into the queue" }).click();
    await expect.poll(() => page.locator("aside .fault").innerText(), SOON).toMatch(/run's name/);
    await page.getByLabel("Run's name").fill("new");
    await page.getByRole("button", { name: "Put into the queue" }).click();
    await expect.poll(() => page.locator(".queue li").count(), SOON).toBe(1);
    expect(await page.locator(".queue").innerText()).toMatch(/npx spo train dpo \S+\.json --run \S+new/);
    await expect.poll(() => page.locator(".queue").innerText(), SOON).toMatch(/failed[\s\S]*no-model/);
  });

  test("jobs that wait are moved by keys alone, and the button that was pressed keeps the focus", async () => {
    // A job at work, as a Studio before this one started it: two others wait for its device.
    for (const [i, run] of ["working", "b", "c"].entries()) {
      const job = { kind: "train dpo", run, words: ["x.json"], device: "cpu", id: `1-${run}` };
      const times = {
        added: `2026-01-0${i + 1}T00:00:00.000Z`,
        ...(i === 0 && { started: new Date().toISOString(), pid: process.pid }),
      };
      writeFileSync(join(root, ".queue", `1-${run}.job.json`), JSON.stringify({ ...job, ...times }));
    }
    await page.goto("about:blank"); // asks nothing of a server that is away
    await studio.stop();
    studio = await startStudio(root, "--allow-start");
    await page.goto(studio.url);
    await page.waitForSelector("tbody tr");
    await page.goto(`${studio.origin}/start`);
    const waiting = () =>
      page
        .locator(".queue li", { has: page.locator("[id^=job-]") })
        .locator("a")
        .allInnerTexts();
    await expect.poll(waiting, SOON).toEqual(["b", "c"]);
    await page.getByRole("button", { name: "Start c earlier" }).focus();
    await page.keyboard.press("Enter");
    await expect.poll(waiting, SOON).toEqual(["c", "b"]);
    expect(await page.locator("main [role=status]").innerText()).toBe("c is now number 1 of 2 that wait.");
    // The first one cannot go up: its other button has the focus.
    await expect
      .poll(() => page.evaluate("document.activeElement.getAttribute('aria-label')"), SOON)
      .toBe("Start c later");
    for (const run of ["c", "b"]) {
      await page.locator(`#job-1-${run}`).getByRole("button", { name: "Take out" }).click();
      await expect.poll(waiting, SOON).toEqual(run === "c" ? ["b"] : []);
    }
  });
});
