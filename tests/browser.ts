// The browser that tests drive: a Chromium of this machine. Without one, tests of pages are skipped and say so; in CI they fail.
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/** The program of a Chromium: that of SPO_BROWSER, or the first on the PATH. */
export const browserPath: string | undefined =
  process.env.SPO_BROWSER ??
  (process.env.PATH ?? "")
    .split(delimiter)
    .flatMap((folder) => NAMES.map((name) => join(folder, name)))
    .find((path) => existsSync(path));

/** Whether tests of pages are left out: where there is no browser, and nobody has promised one. */
export const withoutBrowser: boolean = browserPath === undefined && !process.env.CI;

if (withoutBrowser)
  console.warn(
    "No Chromium on the PATH: tests of pages are skipped. `apt-get install chromium`, or SPO_BROWSER=PATH.",
  );

/** Starts it. */
export function openBrowser(): Promise<Browser> {
  if (browserPath === undefined)
    throw new Error("There is no Chromium: `apt-get install chromium` installs one.");
  // Root, as in a container, has no sandbox; the pages are this test's own.
  return chromium.launch({
    executablePath: browserPath,
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
}
