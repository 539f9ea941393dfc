// A judge that likes gaudy colours, exploited on purpose on the embedded example: the guard stops it soon after the held-out scores' peak.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readRun } from "@spo/records";
import { afterAll, expect, test } from "vitest";
import { cli } from "./cli.js";

const folder = mkdtempSync(join(tmpdir(), "spo-guards-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);
const example = (name: string): string =>
  fileURLToPath(new URL(`../examples/emoji/${name}`, import.meta.url));
const docs = readFileSync(fileURLToPath(new URL("../docs/guards.md", import.meta.url)), "utf8");

test("the documented hacking of a gaudy judge is stopped within three measurements of the held-out peak, and says why", async () => {
  writeFileSync(at("gaudy-judge.js"), /```js\n\/\/ gaudy-judge\.js\n([\s\S]*?)```/.exec(docs)?.[1] as string);
  const prompts = readFileSync(example("prompts/train.txt"), "utf8").trim().split("\n");
  writeFileSync(at("train.txt"), `${prompts.slice(0, 32).join("\n")}\n`);
  writeFileSync(at("watched.txt"), `${prompts.slice(32).join("\n")}\n`);
  const command = /npx spo (train spo --model examples[\s\S]*?)\n```/.exec(docs)?.[1] as string;
  const words = command
    .replaceAll("\\\n", " ")
    .split(/ +/)
    .map((word) => word.replaceAll("'", "").replaceAll("examples/emoji/", example("")));
  const ended = await cli(words, { cwd: folder });
  expect(ended.code, ended.stderr).toBe(0);
  expect(ended.stderr).toContain("what is learned pleases the judge alone");

  const { events, result } = readRun(at("runs/gaudy"));
  const evals = events.flatMap((event) => (event.type === "eval" ? [event] : []));
  const heldOut = evals.map(({ metrics }) => metrics.heldOut as number);
  const peak = evals[heldOut.indexOf(Math.max(...heldOut))] as (typeof evals)[number];
  const last = evals.at(-1) as (typeof evals)[number];
  const guard = events.find((event) => event.type === "guard");
  expect(guard).toMatchObject({ action: "stop", step: last.step, best: peak.step });
  expect(last.step - peak.step).toBeLessThanOrEqual(3);
  expect(last.step).toBeLessThan(12);
  // Exploited: the judge's score has risen and the held-out scores have fallen.
  expect(last.metrics.score).toBeGreaterThan((peak.metrics.score as number) + 0.4);
  for (const name of ["heldOut/labeller", "heldOut"])
    expect(last.metrics[name], name).toBeLessThan((peak.metrics[name] as number) - 0.05);
  expect(last.metrics.saturation).toBeGreaterThan(1.04);
  expect(result).toMatchObject({ best: peak.step, stopped: expect.stringContaining("held-out scores") });

  const report = await cli(["report", at("runs/gaudy")], { cwd: folder });
  expect(report.code, report.stderr).toBe(0);
  expect(readFileSync(at("runs/gaudy/report/report.html"), "utf8")).toContain(
    "The guard stopped the training at",
  );
});
