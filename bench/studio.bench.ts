import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createStudio, type JudgingList, type RunList, type Served, serve } from "@spo/studio";
import { type Browser, chromium, type Page } from "playwright-core";
import sharp from "sharp";
import type { Case, Question } from "./question.js";

const RUNS = 10_000;
const POINTS = 1_000_000;
const PAIRS = 10_000;
/** Different pictures among those of the pairs. */
const PICTURES = 400;
const SIDE = 64;
/** Pairs that are judged in a run, and frames that are scrolled in one. */
const [JUDGED, FRAMES] = [10, 60];
/** Pixels between two frames. */
const SCROLLED = 90;

const time = (wall: number) => ({ at: "2026-01-01T00:00:00.000Z", wall, cpu: wall });
const line = (event: object): string => `${JSON.stringify(event)}\n`;
const start = line({ type: "start", kind: "train spo", time: time(0) });

const question: Question = {
  question: "How fast is Studio with 10,000 runs, 1,000,000 points and 10,000 pairs, in a browser?",
  prepare: async (folder) => {
    const step = line({ type: "step", step: 3, total: 40, metrics: { loss: 0.5 }, time: time(9) });
    for (let i = 0; i < RUNS; i++) {
      mkdirSync(join(folder, "runs", String(i)), { recursive: true });
      writeFileSync(join(folder, "runs", String(i), "events.jsonl"), start + step);
    }
    mkdirSync(join(folder, "long", "run"), { recursive: true });
    const log = join(folder, "long", "run", "events.jsonl");
    writeFileSync(log, start);
    for (let from = 1; from <= POINTS; from += 10_000) {
      const steps = Array.from({ length: 10_000 }, (_, i) => {
        const metrics = { loss: Math.sin((from + i) / 5000) + ((from + i) % 7) / 10 };
        return line({ type: "step", step: from + i, total: POINTS, metrics, time: time(from + i) });
      });
      appendFileSync(log, steps.join(""));
    }
    mkdirSync(join(folder, "sets", "set"), { recursive: true });
    for (let i = 0; i < PICTURES; i++)
      await sharp({
        create: { width: SIDE, height: SIDE, channels: 3, background: `hsl(${i % 360}, 70%, 50%)` },
      })
        .png()
        .toFile(join(folder, "sets", "set", `${i}.png`));
    const pairs = Array.from({ length: PAIRS }, (_, i) => {
      const images = { image_0: `${i % PICTURES}.png`, image_1: `${(7 * i + 1) % PICTURES}.png` };
      return line({ prompt: `a picture of thing ${i}`, ...images, label_0: i % 2, label_1: 1 - (i % 2) });
    });
    writeFileSync(join(folder, "sets", "set", "pairs.jsonl"), pairs.join(""));
  },
  cases: (folder) => {
    const long = createStudio({ runs: join(folder, "long") });
    const asked = async <T>(studio: typeof long, path: string): Promise<T> => {
      const headers = { authorization: `Bearer ${studio.token}`, host: "127.0.0.1" };
      const answer = await studio.fetch(new Request(`http://127.0.0.1${path}`, { headers }));
      if (!answer.ok) throw new Error(await answer.text());
      return (await answer.json()) as T;
    };
    const lists: number[] = [];
    const listing: Case = {
      name: `list ${RUNS} runs`,
      shapes: `${RUNS} folders with a log of two events, by a server that has just started`,
      run: async () => {
        const began = cpuMs();
        const studio = createStudio({ runs: join(folder, "runs") });
        const { runs } = await asked<RunList>(studio, "/api/runs");
        lists.push(cpuMs() - began);
        if (runs.length !== RUNS) throw new Error(`${runs.length} runs are listed.`);
        await studio.close();
      },
      facts: () => ({ cpuMs: percentile(lists, 0.5) }),
      limits: { cpuMs: 1000 },
    };
    const curves: number[] = [];
    const curve: Case = {
      name: `a curve of ${POINTS} points`,
      shapes: `one metric of ${POINTS} updates, smoothed, to 1500 points; the log has been read`,
      run: async () => {
        const [run] = (await asked<RunList>(long, "/api/runs")).runs;
        await asked(long, `/api/runs/${run?.id}/series?keys=loss`); // reads the log, the first time
        const began = cpuMs();
        await asked(long, `/api/runs/${run?.id}/series?keys=loss&smoothing=0.9`);
        curves.push(cpuMs() - began);
      },
      facts: () => ({ cpuMs: percentile(curves, 0.5) }),
      limits: { cpuMs: 200 },
    };
    let open: { served: Served; browser: Browser; page: Page; set: string } | undefined;
    /** The page of a set, in a browser that is started once. */
    const pageOf = async (place: "data" | "judge"): Promise<Page> => {
      if (!open) {
        const served = await serve({ runs: join(folder, "sets"), port: 0 });
        const browser = await chromium.launch({
          executablePath: process.env.SPO_BROWSER ?? "/usr/bin/chromium",
          args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
        });
        const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
        await page.goto(served.url);
        await page.waitForSelector("h1");
        const headers = { authorization: `Bearer ${served.token}` };
        const list = await fetch(new URL("/api/judging", served.url), { headers });
        const [set] = ((await list.json()) as JudgingList).sets;
        open = { served, browser, page, set: set?.id as string };
      }
      const { page, served, set } = open;
      const address = new URL(`/${place}/${set}`, served.url).href;
      if (page.url() === address) return page;
      await page.goto(address);
      if (place === "data") await page.locator(".pair-rows img").first().waitFor();
      else {
        await page.getByRole("textbox").fill("anna");
        await page.keyboard.press("Enter");
        await page.locator(".choices:not(.waiting)").waitFor();
      }
      return page;
    };
    const close = async (): Promise<void> => {
      await open?.browser.close();
      await open?.served.close();
      open = undefined;
    };
    const waits: number[] = [];
    const judging: Case = {
      name: "from a key to the next pair",
      shapes: `${PAIRS} pairs of ${SIDE}×${SIDE} PNGs, both pictures decoded`,
      units: JUDGED,
      run: async () => {
        const page = await pageOf("judge");
        waits.push(...((await page.evaluate(judged(JUDGED))) as number[]));
      },
      facts: async () => {
        await close();
        return { p95Ms: percentile(waits, 0.95), pairs: waits.length };
      },
      limits: { p95Ms: 100 },
    };
    const frames: number[] = [];
    const scrolling: Case = {
      name: "a frame of the data browser",
      shapes: `${PAIRS} pairs of ${SIDE}×${SIDE} PNGs, ${SCROLLED} pixels a frame`,
      units: FRAMES,
      run: async () => {
        const page = await pageOf("data");
        frames.push(...((await page.evaluate(scrolled(FRAMES, SCROLLED))) as number[]));
      },
      facts: async () => {
        await close();
        return { medianMs: percentile(frames, 0.5), p95Ms: percentile(frames, 0.95), frames: frames.length };
      },
      limits: { medianMs: 17 }, // the 95th percentile is the machine's, where others use it too
    };
    return [listing, curve, judging, scrolling];
  },
};
export default question;

/** In the page: presses a key so many times, and gives the milliseconds until the next pair may be answered. */
const judged = (count: number): string => `(async () => {
  const waits = [];
  const frame = () => new Promise(requestAnimationFrame);
  const pair = () => document.querySelector(".choices img")?.src;
  for (let i = 0; i < ${count}; i++) {
    await new Promise((resolve) => setTimeout(resolve, 300)); // nobody answers sooner
    const before = pair();
    const began = performance.now();
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
    while (pair() === before || document.querySelector(".choices.waiting")) await frame();
    waits.push(performance.now() - began);
  }
  return waits;
})()`;

/** In the page: scrolls so many times, and gives the milliseconds of each frame. */
const scrolled = (count: number, by: number): string => `(async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const rows = document.querySelector(".table-frame");
  const found = [];
  let last = await frame();
  for (let i = 0; i < ${count}; i++) {
    rows.scrollBy(0, ${by});
    const now = await frame();
    found.push(now - last);
    last = now;
  }
  return found;
})()`;

/** Of this process so far, in milliseconds. */
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const percentile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(share * (values.length - 1))] ?? Number.NaN;
