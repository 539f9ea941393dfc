// @ts-check
import { expect, test } from "vitest";
import { comparisonTable, headlineTable } from "./comparison.mjs";
import { withTable } from "./marked.mjs";
import { qualityTable } from "./quality.mjs";
import { speedTable } from "./speed.mjs";

const estimate = (/** @type {number} */ value) => ({ value, low: value - 0.1, high: value + 0.1 });

/** @param {number} spo @param {number} [base] @returns {import("./quality.mjs").Report} */
const report = (spo, base = 0.5) => ({
  pairCount: 240,
  provenance: { cpu: "a machine", date: "2026-01-01" },
  measures: [
    { name: "distance", unit: "number", better: "lower", base: estimate(base), spo: estimate(spo) },
    {
      name: "judge",
      unit: "share",
      better: "higher",
      base: estimate(0.4),
      spo: estimate(0.6),
      wins: estimate(0.7),
    },
  ],
});

test("seeds stand before the control, and what the base reached stands once", () => {
  const table = qualityTable(
    new Map([
      ["random-labels", report(0.51)],
      ["seed-0", report(0.25)],
      ["seed-1", report(0.3)],
    ]),
  );
  const lines = table.split("\n");
  expect(lines[0]).toBe("|  | base | SPO, seed 0 | SPO, seed 1 | random labels |");
  expect(lines[2]).toBe(
    "| distance ↓ | 0.5 (0.4–0.6) | 0.25 (0.15–0.35) | 0.3 (0.2–0.4) | 0.51 (0.41–0.61) |",
  );
  expect(lines[4]).toContain("| 70 % (60–80) | 70 % (60–80) | 70 % (60–80) |");
});

test("bases that differ between the files are not passed off as one", () => {
  const table = qualityTable(
    new Map([
      ["seed-0", report(0.25)],
      ["seed-1", report(0.3, 0.6)],
    ]),
  );
  expect(table.split("\n")[2]).toContain("| see the files |");
});

test("a fast run's figures do not stand in the table", () => {
  expect(() =>
    qualityTable(new Map([["seed-0", { ...report(0.2), notes: ["This was a fast run: little training."] }]])),
  ).toThrow(/fast/);
});

test("each family's files make a table of their own", () => {
  const results = new Map([
    ["seed-0", report(0.25)],
    ["seed-0-sd3", report(0.75)],
    ["random-labels-sd3", report(0.85)],
  ]);
  expect(qualityTable(results).split("\n")[0]).toBe("|  | base | SPO, seed 0 |");
  const flow = qualityTable(results, "--family sd3");
  expect(flow.split("\n")[0]).toBe("|  | base | SPO, seed 0 | random labels |");
  expect(flow).toContain("| 0.75 (0.65–0.85) | 0.85 (0.75–0.95) |");
  expect(flow).toContain("npm run quickstart -- --family sd3 --seed N");
});

test("without result files there is no number, but how to make them", () => {
  expect(qualityTable(new Map())).toMatch(/^No results .*npm run quickstart/);
  expect(speedTable(new Map())).toMatch(/^No results .*npm run bench/);
});

test("a bench case that Python did not run is left out", () => {
  const side = (/** @type {number} */ cpu) => ({
    cpu: { min: cpu, median: cpu, max: cpu },
    wall: { min: cpu, median: cpu, max: cpu },
    peakBytes: 1,
  });
  const rest = { shapes: "", rounds: 1, runsPerTurn: 1, unitsPerRun: 1 };
  const compared = {
    ...rest,
    name: "both",
    ours: side(0.02),
    python: side(0.04),
    ratio: { cpu: 0.5, cpuMedian: 0.5, wall: 0.5, memory: 0.8 },
    target: /** @type {const} */ ({ of: "cpu", ratio: 1 }),
    met: true,
  };
  const record = {
    command: "npm run bench -- one",
    date: "2026-01-01",
    machine: { cpu: "a machine" },
    threads: 1,
    cases: [compared, { ...rest, name: "alone", ours: side(1) }],
  };
  const table = speedTable(new Map([["one", record]]));
  expect(table).toContain("| one: both | 20.00 ms | 40.00 ms | 0.50 | 0.80 | cpu ≤ 1: met |");
  expect(table).toContain("Commands: `npm run bench -- one`.");
  expect(table).not.toContain("alone");
});

test("only what stands between the markers is replaced, and a text without them is refused", () => {
  const text = "before\n<!-- quality:begin, by a script -->\nold\n<!-- quality:end -->\nafter";
  expect(withTable(text, "quality", "new")).toBe(text.replace("old", "new"));
  expect(() => withTable("no markers", "quality", "new")).toThrow(/markers/);
});

test("a comparison shows each method's wins and who is sooner as good, and says never where it never is", () => {
  const row = (/** @type {"base" | "dpo" | "spo"} */ name) => ({
    name,
    score: estimate(-1.5),
    ...(name === "base"
      ? {}
      : {
          wins: estimate(0.7),
          signTest: { byImage: 1e-9, byPrompt: 0.021 },
          seeds: [{ seed: 0, wins: 0.68 }],
        }),
  });
  const lead = { withPreference: true, bySeed: [] };
  /** @type {Parameters<typeof comparisonTable>[0]} */
  const facts = {
    clock: "seconds",
    rows: [row("base"), row("dpo"), row("spo")],
    spoOverDpo: estimate(0.66),
    counts: { images: 240, prompts: 16, seeds: 1 },
    leads: [
      { ...lead, spending: "seconds", method: "spo", over: "dpo", lead: { other: 400, own: 200, ratio: 2 } },
      { ...lead, spending: "seconds", method: "dpo", over: "spo", lead: { other: 500, spent: 540 } },
      { ...lead, spending: "teraFlops", method: "spo", over: "dpo" },
    ],
    work: [{ stage: "SPO, one run", seconds: 300.4, cpuSeconds: 1, teraFlops: 1 }],
    provenance: { processor: "a machine", date: "2026-01-01" },
  };
  const table = comparisonTable(facts);
  const lines = table.split("\n");
  expect(lines[0]).toBe("|  | base | Diffusion-DPO | SPO |");
  expect(lines[3]).toBe("| better than the base, same noise |  | 70 % (60–80) | 70 % (60–80) |");
  expect(table).toContain("< 0.0001; 0.021");
  expect(table).toContain("| never in 540 (500) | 200 (400; ×2) |");
  expect(table).toContain("of SPO for 300 after");
  expect(comparisonTable(undefined)).toMatch(/npx spo compare/);

  const short = headlineTable(facts).split("\n");
  expect(short.slice(2, 6).map((line) => line.split(" | ").slice(1).join(" | "))).toEqual([
    "-1.5 (-1.6 to -1.4) | -1.5 (-1.6 to -1.4) | -1.5 (-1.6 to -1.4) |".replaceAll("-", "−"),
    " | 70 % (60–80) | 70 % (60–80) |",
    " |  |  |",
    " | never in 540 (500) | 200 (400; ×2) |",
  ]);
  expect(headlineTable(undefined)).toBe(comparisonTable(undefined));
});
