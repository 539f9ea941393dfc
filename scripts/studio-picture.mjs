// @ts-check
// Writes docs/images/studio-steps.png: the step view of Studio over a run of train spo, as a browser draws it.
//
//   node scripts/studio-picture.mjs RUN      needs a Chromium: SPO_BROWSER, or chromium on the PATH
import { basename, join, resolve } from "node:path";
import { serve } from "@spo/studio";
import { chromium } from "playwright-core";
import sharp from "sharp";
import { root } from "./setup/root.mjs";

/** Rows of the step view that a picture has. */
const ROWS = 4;

const [run] = process.argv.slice(2);
if (!run) throw new Error("node scripts/studio-picture.mjs RUN");
const studio = await serve({ runs: resolve(run) });
const executablePath = process.env.SPO_BROWSER ?? "/usr/bin/chromium";
const browser = await chromium.launch({
  executablePath,
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
const page = await browser.newPage({ viewport: { width: 900, height: 760 }, deviceScaleFactor: 1.5 });
await page.goto(studio.url);
await page.locator("tbody a").first().click();
await page.waitForSelector(".tabs");
const address = page.url();

await page.goto(`${address}/steps?at=0`);
await page.locator(".strip").nth(ROWS).waitFor();
await page.waitForTimeout(1000); // for the pictures
const box = await page
  .locator(".strip")
  .nth(ROWS - 1)
  .boundingBox();
const top = await page.locator(".panel h2").first().boundingBox();
if (!box || !top) throw new Error(`${basename(run)} shows no candidates.`);
const clip = { x: top.x - 4, y: top.y - 6, width: 860, height: box.y + box.height - top.y + 6 };
const picture = await page.screenshot({ clip, fullPage: true });
await sharp(picture)
  .png({ palette: true, quality: 90, effort: 10 })
  .toFile(join(root, "docs/images/studio-steps.png"));

await browser.close();
await studio.close();
