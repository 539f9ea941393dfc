// Studio as people and programs meet it: the command, and its page in a real browser.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Run } from "@spo/records";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PIXEL, writeSpoRun } from "../packages/studio/src/run-folders.fixture.js";
import { openBrowser, withoutBrowser } from "./browser.js";
import { cli } from "./cli.js";
import { HOSTILE } from "./hostile-strings.js";
import { type StudioProcess, startStudio } from "./studio-server.js";

const VIEWS = ["", "/steps", "/samples", "/curves", "/log", "/settings"];

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "spo-studio-e2e-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A folder with one run, given back open. */
function oneRun(name: string, options = {}): { runs: string; run: Run } {
  const runs = join(root, name);
  return { runs, run: writeSpoRun(join(runs, "first"), options) };
}

describe("the command", () => {
  test("prints one line when it listens and nothing else, and ends by SIGTERM", async () => {
    const { runs, run } = oneRun("contract");
    const studio = await startStudio(runs);
    expect(studio.url).toBe(`${studio.origin}/?token=${studio.token}`);
    const [listed] = await studio.runs();
    expect(listed?.name).toBe("first");
    expect((await studio.get(`/api/runs/${listed?.id}/events`)).status).toBe(200); // open to the end
    const { code, stdout, stderr } = await studio.stop();
    expect([code, stdout.split("\n").length, stderr]).toEqual([0, 2, ""]);
    expect(JSON.parse(stdout)).toMatchObject({
      schema: "spo.studio/1",
      url: studio.url,
      token: studio.token,
    });
    run.close();
  });

  test("refuses a folder that is not there, a port in use and a host that is none, with what to do", async () => {
    const { runs, run } = oneRun("refusals");
    run.close();
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo;
    const base = ["--no-open", "--json"];
    for (const [args, code, told] of [
      [[join(root, "none"), ...base], 4, /There is no folder .*none/],
      [[runs, "--port", String(port), ...base], 2, new RegExp(`--port ${port} is in use`)],
      [
        [runs, "--port", "0", "--host", "203.0.113.9", ...base],
        2,
        /--host 203\.0\.113\.9 is no address of this machine/,
      ],
      [[runs, "--port", "70000", ...base], 2, /--port/],
    ] as const) {
      const ended = await cli(["studio", ...args]);
      expect(ended.code).toBe(code);
      expect(JSON.parse(ended.stdout)).toMatchObject({
        schema: "spo.error/1",
        message: expect.stringMatching(told),
      });
    }
    other.close();
  });

  test("warns where other machines can reach it", async () => {
    const { runs, run } = oneRun("public");
    run.close();
    const studio = await startStudio(runs, "--host", "0.0.0.0");
    const { stderr } = await studio.stop();
    expect(stderr).toMatch(/warning: other machines can reach Studio/);
    expect(stderr).not.toContain(studio.token);
  });

  test("shows a run of a killed process as such within five seconds", async () => {
    const runs = join(root, "killed");
    mkdirSync(runs);
    const studio = await startStudio(runs);
    const records = new URL("../packages/records/dist/index.js", import.meta.url).href;
    const code = `import { Run } from ${JSON.stringify(records)};
      const run = Run.open(${JSON.stringify(join(runs, "a"))}, { kind: "train spo", config: {} });
      run.step(1, 9, { loss: 1 });
      console.log("open"); setInterval(() => {}, 1000);`;
    const writer = spawn(process.execPath, ["--input-type=module", "-e", code], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(writer.stdout, "data");
    const state = async (): Promise<string | undefined> => (await studio.runs())[0]?.state;
    await expect.poll(state, { timeout: 5000 }).toBe("running");
    writer.kill("SIGKILL");
    await expect.poll(state, { timeout: 5000 }).toBe("killed");
    await studio.stop();
  });
});

describe.skipIf(withoutBrowser)("the page", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await openBrowser();
  });
  afterAll(() => browser?.close());

  /** A page that notes what a page must not do. */
  async function open(
    studio: StudioProcess,
    options: Parameters<Browser["newContext"]>[0] = {},
  ): Promise<{ context: BrowserContext; page: Page; faults: string[] }> {
    const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...options });
    const page = await context.newPage();
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(error.message));
    page.on(
      "console",
      (message) => ["error", "warning"].includes(message.type()) && faults.push(message.text()),
    );
    page.on("dialog", (dialog) => {
      faults.push(`a dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    await page.goto(studio.url);
    await page.waitForSelector("tbody tr");
    return { context, page, faults };
  }

  /** Opens a view of the first run and waits until it has drawn. */
  async function view(page: Page, studio: StudioProcess, id: string, path: string): Promise<void> {
    await page.goto(`${studio.origin}/runs/${id}${path}`);
    await page.waitForSelector(".tabs");
    await page.waitForLoadState("networkidle").catch(() => {}); // a stream stays open
    await page.waitForTimeout(300);
  }

  async function idOf(page: Page): Promise<string> {
    const href = await page.locator("tbody a").first().getAttribute("href");
    return (href as string).split("/").at(-1) as string;
  }

  test("takes the token out of the address, and lets a second tab in by the cookie, a browser without it not", async () => {
    const { runs, run } = oneRun("tabs");
    const studio = await startStudio(runs);
    const { context, page, faults } = await open(studio);
    expect(page.url()).toBe(`${studio.origin}/`);
    expect(await page.evaluate("document.cookie")).toBe(""); // no script can read it
    const second = await context.newPage();
    await second.goto(`${studio.origin}/`);
    await second.waitForSelector("tbody tr");
    await page.goBack().catch(() => undefined);
    expect(page.url()).not.toContain(studio.token);
    const stranger = await (await browser.newContext()).newPage();
    await stranger.goto(`${studio.origin}/`);
    expect(await stranger.textContent("body")).toMatch(/Open the address that the command printed/);
    expect(faults).toEqual([]);
    await context.close();
    await studio.stop();
    run.close();
  });

  test("the step view says of each row what was taken, and why not", async () => {
    const { runs, run } = oneRun("steps");
    const studio = await startStudio(runs);
    const { context, page } = await open(studio);
    await view(page, studio, await idOf(page), "/steps");
    const rows = await page.locator(".strip").allInnerTexts();
    expect(rows).toHaveLength(4);
    expect(rows[0]).toMatch(
      /t 701[\s\S]*worst[\s\S]*2\.4\s*best[\s\S]*goes on[\s\S]*a pair[\s\S]*margin 0\.6, threshold 0\.3/,
    );
    expect(rows[1]).toMatch(/no pair: below the threshold/);
    expect(rows[2]).toMatch(/no pair: tie/);
    expect(rows[3]).toMatch(/not finite[\s\S]*no pair: not finite/);
    expect(
      await page.evaluate(
        "[...document.querySelectorAll('.strip img')].every((each) => each.naturalWidth === 1)",
      ),
    ).toBe(true);
    await page.setViewportSize({ width: 390, height: 900 });
    const ends = await page.locator(".strip-end, .strip figure").all();
    for (const box of await Promise.all(ends.map((each) => each.boundingBox())))
      expect((box?.x ?? 0) + (box?.width ?? 0)).toBeLessThanOrEqual(390);
    for (const [measure, seen] of [
      ["implicit accuracy", /0\.75/],
      ["|log ratio|", /0\.03/],
    ] as const) {
      await page.getByLabel("Shown").selectOption(measure);
      expect(await page.locator(".heat").innerText()).toMatch(seen);
    }
    await context.close();
    await studio.stop();
    run.close();
  });

  test("keys alone: filter, open, samples by arrows, best and worst, help", async () => {
    const { runs, run } = oneRun("keys");
    writeSpoRun(join(runs, "second")).close();
    const studio = await startStudio(runs);
    const { context, page, faults } = await open(studio);
    await page.keyboard.press("/");
    await page.keyboard.type("first");
    await expect.poll(() => page.locator("tbody tr").count(), { timeout: 20_000 }).toBe(1);
    expect(page.url()).toContain("q=first");
    for (let i = 0; i < 12 && !(await page.evaluate("document.activeElement.closest('tbody') !== null")); i++)
      await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".tabs");
    const id = page.url().split("/").at(-1) as string;
    await view(page, studio, id, "/samples");
    expect(await page.locator(".slider").innerText()).toMatch(/Step 3/);
    await page.keyboard.press("ArrowLeft");
    await expect.poll(() => page.locator(".slider").innerText(), { timeout: 20_000 }).toMatch(/Step 0/);
    await page.keyboard.press("?");
    await expect
      .poll(() => page.locator(".keys.panel").innerText(), { timeout: 20_000 })
      .toMatch(/Samples after/);
    await view(page, studio, id, "/steps");
    await page.locator(".picture").first().focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector("dialog[open]");
    for (const mode of ["slider", "difference"]) {
      await page.keyboard.press("m");
      await expect
        .poll(() => page.getByRole("button", { name: mode }).getAttribute("aria-pressed"), {
          timeout: 20_000,
        })
        .toBe("true");
    }
    await expect.poll(() => page.locator(".difference img").count(), { timeout: 20_000 }).toBe(2);
    await page.keyboard.press("Escape");
    await expect.poll(() => page.locator("dialog").count(), { timeout: 20_000 }).toBe(0);
    expect(faults).toEqual([]);
    await context.close();
    await studio.stop();
    run.close();
  });

  test("a run at work is followed, also after the connection was lost; a server that is gone is told of", async () => {
    const { runs, run } = oneRun("live");
    const studio = await startStudio(runs);
    const { context, page } = await open(studio);
    await view(page, studio, await idOf(page), "");
    const essence = () => page.locator(".essence").innerText();
    run.step(4, 40, { loss: 0.2 });
    await expect.poll(essence, { timeout: 10_000 }).toMatch(/at 4 of 40/);
    await context.setOffline(true);
    run.step(5, 40, { loss: 0.2 });
    run.step(6, 40, { loss: 0.2 });
    await context.setOffline(false);
    await expect.poll(essence, { timeout: 20_000 }).toMatch(/at 6 of 40/);
    run.done({ output: "x" });
    run.close();
    await expect.poll(() => page.locator("h1 .badge").innerText(), { timeout: 10_000 }).toBe("finished");
    await studio.stop();
    await expect
      .poll(() => page.locator(".fault[role=status]").innerText(), { timeout: 20_000 })
      .toMatch(/connection/);
    await context.close();
  });

  test("hostile prompts, names and settings are text in every view", async () => {
    const runs = join(root, "hostile");
    for (const text of HOSTILE) {
      const name = text.replaceAll("/", "∕").replaceAll("\0", "").slice(0, 60);
      if (name.trim() !== "" && !/^\.+$/.test(name)) writeSpoRun(join(runs, name), { rounds: 1 }).close();
    }
    const run = writeSpoRun(join(runs, "all"), { text: HOSTILE[0] });
    const images = HOSTILE.map((prompt, seed) => ({ file: "samples/x.png", prompt, seed }));
    writeFileSync(join(run.folder, "samples", "x.png"), PIXEL);
    run.record({ type: "sample", step: 4, images });
    run.record({ type: "sample", step: 5, images });
    for (const text of HOSTILE) run.warn(text);
    run.data(Object.fromEntries(HOSTILE.map((text) => [text, text])));
    run.step(4, 40, Object.fromEntries(HOSTILE.slice(0, 20).map((text) => [text, 1])));
    const strips = JSON.parse(
      readFileSync(join(run.folder, "strips", "round-000000.json"), "utf8"),
    ) as object[];
    const more = HOSTILE.map((prompt) => ({ ...strips[0], prompt }));
    writeFileSync(join(run.folder, "strips", "round-000003.json"), JSON.stringify(more));
    run.close();
    const config = JSON.parse(readFileSync(join(run.folder, "config.json"), "utf8")) as object;
    writeFileSync(
      join(run.folder, "config.json"),
      JSON.stringify({ ...config, ...Object.fromEntries(HOSTILE.map((text) => [text, text])) }),
    );
    mkdirSync(join(runs, "judged"));
    writeFileSync(join(runs, "judged", "x.png"), PIXEL);
    const pairs = HOSTILE.map((prompt) => ({ prompt, image_0: "x.png", image_1: "x.png", has_label: false }));
    writeFileSync(
      join(runs, "judged", "pairs.jsonl"),
      pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(""),
    );
    const studio = await startStudio(runs);
    const { context, page, faults } = await open(studio);
    await page.locator("input[type=search]").fill("all");
    await page.locator("a", { hasText: /^all$/ }).waitFor();
    const id = (await page.locator("a", { hasText: /^all$/ }).getAttribute("href"))
      ?.split("/")
      .at(-1) as string;
    await page.locator("input[type=search]").fill("");
    const frame = page.locator(".table-frame");
    for (let y = 0; y < 100 * 44; y += 600) await frame.evaluate((at, top) => at.scrollTo(0, top), y);
    for (const path of VIEWS) {
      await view(page, studio, id, path);
      // Of options and pictures too, whose text `innerText` leaves out.
      const text = await page.evaluate(
        "document.body.innerText + [...document.querySelectorAll('option, img')].map((each) => each.textContent + each.getAttribute('alt')).join()",
      );
      if (path !== "/curves") expect(text, path).toContain("<script>");
      const made = "#app script, #app iframe, #app svg, [onerror], [onload], a[href^=javascript]";
      expect(await page.locator(made).count(), path).toBe(0);
    }
    await page.goto(`${studio.origin}/judge`);
    await page.getByRole("link", { name: "judged" }).click();
    await page.getByRole("textbox").fill("<script>owned=1</script>");
    await page.keyboard.press("Enter");
    const set = page.url();
    for (let i = 0; i < 5; i++) {
      await page.waitForSelector(".choices:not(.waiting)");
      await page.waitForTimeout(300);
      await page.keyboard.press("ArrowDown");
    }
    await page.goto(`${set}/results`);
    await page.waitForSelector("tbody tr");
    expect(await page.locator("tbody").innerText()).toContain("<script>");
    expect(await page.evaluate("window.owned")).toBeUndefined();
    expect(faults).toEqual([]);
    await context.close();
    await studio.stop();
  });

  test("ten thousand runs are listed, and drawn as far as they are seen", async () => {
    const runs = join(root, "many");
    writeSpoRun(join(runs, "0"), { rounds: 1 }).close();
    const log = readFileSync(join(runs, "0", "events.jsonl"));
    for (let i = 1; i < 10_000; i++) {
      mkdirSync(join(runs, String(i)));
      writeFileSync(join(runs, String(i), "events.jsonl"), log);
    }
    const studio = await startStudio(runs);
    const { context, page, faults } = await open(studio);
    expect(await page.locator(".essence").innerText()).toMatch(/10000 runs/);
    expect(await page.locator("tbody tr").count()).toBeLessThan(60);
    expect(faults).toEqual([]);
    await context.close();
    await studio.stop();
  });
});
