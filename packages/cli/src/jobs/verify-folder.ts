// Runs all golden checks over a folder of fixtures and prints them as a table.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type Case, type Check, diffusionChecksOf } from "@spo/diffusion";
import { setThreads } from "@spo/torch";
import { UserError } from "@spo/torch/files";
import { spoChecks } from "spo";
import type { CommonOptions } from "../options/common-options.js";
import { painter, put, putJson, say } from "../terminal/terminal.js";

interface Outcome {
  name: string;
  files: readonly string[];
  ok: boolean;
  /** Why it could not be run to its end. */
  error?: string;
  cases: (Case & { ok: boolean })[];
}

/** Files that describe fixtures. */
const ABOUT = ["README.md", "manifest.json"];

/** Prints every case, what failed, and which files no check covers. Sets exit code 1 unless all is well. */
export async function verifyFolder(folder: string, { json }: CommonOptions): Promise<void> {
  const checks = [...diffusionChecksOf(folder), ...spoChecks].filter(
    ({ optional }) => optional === undefined || existsSync(join(folder, optional)),
  );
  if (!existsSync(folder)) say(`spo: there is no folder ${folder}.`);
  // Fixtures are tiny: threads gain nothing, and on busy cores they wait for each other for minutes.
  if (!process.env.OMP_NUM_THREADS) setThreads(1);
  const outcomes: Outcome[] = [];
  for (const check of checks) {
    const outcome = await outcomeOf(check, folder);
    outcomes.push(outcome);
    if (!json) print(outcome);
    await setImmediate(); // lets signals arrive
  }
  const cases = outcomes.flatMap((outcome) => outcome.cases);
  const summary = {
    checks: outcomes.length,
    failedChecks: outcomes.filter(({ ok }) => !ok).length,
    cases: cases.length,
    misses: cases.filter(({ ok }) => !ok).length,
  };
  const unsupported = uncovered(folder, checks);
  const ok = summary.failedChecks === 0;
  if (!ok) process.exitCode = 1;
  if (json) {
    putJson({ schema: "spo.verify/1", folder, ok, summary, checks: outcomes, unsupported });
    return;
  }
  if (unsupported.length > 0) put(`\nNot yet supported, not checked: ${unsupported.join(", ")}`);
  const paint = painter(process.stdout);
  put(
    `\n${summary.cases} cases of ${summary.checks} checks: ${ok ? paint("green", "0 misses") : paint("red", `${summary.misses} misses, ${summary.failedChecks} checks failed`)}`,
  );
  for (const { name, error, cases: all } of outcomes.filter((outcome) => !outcome.ok))
    put(
      `  ${name}: ${error ?? `${all.filter((each) => !each.ok).length} of ${all.length} cases out of tolerance`}`,
    );
}

async function outcomeOf(check: Check, folder: string): Promise<Outcome> {
  const { name, files } = check;
  const missing = files.filter((file) => !existsSync(join(folder, file)));
  if (missing.length > 0)
    return { name, files, ok: false, error: `missing: ${missing.join(", ")}`, cases: [] };
  try {
    const found = await check.run(folder);
    const cases = found.map((each) => ({ ...each, ok: each.maxError <= each.tolerance }));
    const error = cases.length === 0 ? "it compared nothing" : undefined;
    return { name, files, ok: !error && cases.every(({ ok }) => ok), error, cases };
  } catch (error) {
    // One damaged file must not hide what the other checks find.
    return { name, files, ok: false, error: reasonOf(error), cases: [] };
  }
}

const reasonOf = (error: unknown): string =>
  error instanceof UserError ? error.message : ((error as Error).stack ?? String(error));

function print({ name, ok, error, cases }: Outcome): void {
  const paint = painter(process.stdout);
  put(`${ok ? paint("green", "ok  ") : paint("red", "FAIL")}  ${paint("bold", name)}`);
  if (error) put(`      ${error.replaceAll("\n", "\n      ")}`);
  const width = Math.min(48, Math.max(0, ...cases.map((each) => each.case.length)));
  for (const { case: label, maxError, tolerance, ok: good } of cases) {
    const numbers = `${exponential(maxError)}  ≤ ${exponential(tolerance)}`;
    put(`      ${label.padEnd(width)}  ${numbers}  ${good ? "ok" : paint("red", "MISS")}`);
  }
}

const exponential = (x: number): string => (x === 0 ? "0" : x.toExponential(2)).padStart(9);

/** Names in the folder that no check reads. */
function uncovered(folder: string, checks: readonly Check[]): string[] {
  if (!existsSync(folder)) return [];
  const covered = new Set(checks.flatMap(({ files }) => files.map((file) => file.split("/")[0] as string)));
  return readdirSync(folder)
    .filter((name) => !covered.has(name) && !ABOUT.includes(name) && !name.startsWith("."))
    .sort();
}
