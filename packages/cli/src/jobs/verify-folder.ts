// Runs the golden checks that a folder of fixtures asks for and prints them as a table.
import { existsSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import {
  type Case,
  type Check,
  checksAskedFor,
  diffusionChecksOf,
  type GoldenSet,
  missingFiles,
  openGoldenSet,
  uncheckedFiles,
} from "@spo/diffusion";
import { type Device, loadingOn, onMeta, resolveDevice, setThreads } from "@spo/torch";
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

/**
 * device: where the models compute; on a GPU tolerances are ten times as wide, on `meta` nothing is compared. only:
 * words; a check is run, and a file without a check named, where its name has one of them, in any case of letters.
 */
export interface VerifyOptions extends CommonOptions {
  device: string;
  only?: readonly string[];
}

/** Prints every case, what failed, and which files no check covers. Sets exit code 1 unless all is well. */
export async function verifyFolder(
  folder: string,
  { json, only, device: name }: VerifyOptions,
): Promise<void> {
  const device = resolveDevice(name);
  const asked = (name: string): boolean =>
    !only || only.some((word) => name.toLowerCase().includes(word.toLowerCase()));
  const set = openGoldenSet(folder);
  const all = checksAskedFor(set, [...diffusionChecksOf(set), ...spoChecks]);
  const checks = all.filter(({ name }) => asked(name));
  const { unchecked, missing } = uncheckedFiles(set, all);
  const unsupported = unchecked.filter(asked);
  if (checks.length + unsupported.length === 0)
    throw new UserError(`No check of ${folder} has ${only?.join(" or ")} in its name.`, {
      code: "USAGE",
      hint: `There are: ${all.map(({ name }) => name).join("; ")}.`,
    });
  if (!existsSync(folder)) say(`spo: there is no folder ${folder}.`);
  // Fixtures are tiny: threads gain nothing, and on busy cores they wait for each other for minutes.
  if (!process.env.OMP_NUM_THREADS) setThreads(1);
  using _loading = loadingOn(device);
  using _refusing = device === "meta" ? onMeta({ float64: true }) : undefined;
  const outcomes: Outcome[] = [];
  for (const check of checks) {
    const outcome = await outcomeOf(check, set, device);
    outcomes.push(outcome);
    if (!json) print(outcome);
    await setImmediate(); // lets signals arrive
  }
  const lost = missing.filter(asked);
  if (lost.length > 0) {
    const error = `missing: ${lost.join(", ")}`;
    const outcome = { name: "files of the manifest", files: lost, ok: false, error, cases: [] };
    outcomes.push(outcome);
    if (!json) print(outcome);
  }
  const cases = outcomes.flatMap((outcome) => outcome.cases);
  const summary = {
    checks: outcomes.length,
    failedChecks: outcomes.filter(({ ok }) => !ok).length,
    cases: cases.length,
    misses: cases.filter(({ ok }) => !ok).length,
  };
  const ok = summary.failedChecks === 0 && summary.checks > 0; // who compared nothing has shown nothing
  if (!ok) process.exitCode = 1;
  if (json) {
    putJson({ schema: "spo.verify/1", folder, device, ok, summary, checks: outcomes, unsupported });
    return;
  }
  if (unsupported.length > 0) put(`\nNot yet supported, not checked: ${unsupported.join(", ")}`);
  const paint = painter(process.stdout);
  put(
    `\n${summary.cases} cases of ${summary.checks} checks: ${ok ? paint("green", "0 misses") : paint("red", summary.checks === 0 ? "nothing was compared" : `${summary.misses} misses, ${summary.failedChecks} checks failed`)}`,
  );
  for (const { name, error, cases: all } of outcomes.filter((outcome) => !outcome.ok))
    put(
      `  ${name}: ${error ?? `${all.filter((each) => !each.ok).length} of ${all.length} cases out of tolerance`}`,
    );
}

/**
 * What a tolerance becomes on a device. The tolerances are a CPU's; a GPU's kernels sum in other orders. On `meta` no number
 * tells anything, and neither does a shape that hangs on numbers: there a check fails by an error alone.
 */
const widened = (tolerance: number, device: Device): number =>
  device === "cpu" ? tolerance : 10 * tolerance;

async function outcomeOf(check: Check, set: GoldenSet, device: Device): Promise<Outcome> {
  const { name, files } = check;
  const missing = missingFiles(set, check);
  if (missing.length > 0)
    return { name, files, ok: false, error: `missing: ${missing.join(", ")}`, cases: [] };
  try {
    const found = await check.run(set.folder, set.base);
    const cases = found.map((each) => {
      const tolerance = widened(each.tolerance, device);
      return { ...each, tolerance, ok: device === "meta" || each.maxError <= tolerance };
    });
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
