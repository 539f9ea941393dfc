import { describe, expect, test } from "vitest";
import type { Event, RunRecord } from "../index.js";
import { chartSvg } from "./charts.js";
import { essence, reportPage } from "./page.js";
import { runReport } from "./run-report.js";

const time = { at: "2026-11-30T01:02:03.000Z", wall: 1, cpu: 1 };
const step = (n: number, metrics: Record<string, number>): Event => ({
  type: "step",
  step: n,
  total: 9,
  metrics,
  time,
});
const measured = (n: number, metrics: Record<string, number>): Event => ({
  type: "eval",
  step: n,
  metrics,
  time,
});
const run = (kind: string, events: Event[], result?: RunRecord["result"]): RunRecord => ({
  folder: "/somewhere/runs/my-run",
  kind,
  config: {},
  events: [{ type: "start", kind, time }, ...events],
  checkpoints: [],
  result,
  faults: [],
});

test("of SPO by a judge that cannot score the samples the page says so, and how far they have moved", () => {
  const events = [measured(0, { drift: 0 }), step(1, { loss: 0.6 }), measured(9, { drift: 0.0149 })];
  expect(runReport(run("train spo", events, {})).verdict).toMatch(
    /^Nothing scored .* a drift of 0\.0149: look/,
  );
  expect(runReport(run("train spo", events.slice(0, 2), {})).verdict).toBeUndefined();
});

describe("the report of Diffusion-DPO", () => {
  const events = [
    measured(0, { loss: Math.LN2, accuracy: 0 }),
    step(1, { loss: 0.6, accuracy: 0.7 }),
    measured(4, { loss: 0.845, accuracy: 0.42 }),
    step(9, { loss: 0.4, accuracy: 0.9 }),
    measured(9, { loss: 0.791, accuracy: 0.42 }),
  ];

  test("shows loss and accuracy on held-out pairs, and says first that they got worse", () => {
    const report = runReport(run("train dpo", events, {}));
    const held = report.charts.find(({ title }) => title === "On held-out pairs")?.charts ?? [];
    expect(held.map(({ series }) => series[0]?.points)).toEqual([
      [
        { x: 0, y: Math.LN2 },
        { x: 4, y: 0.845 },
        { x: 9, y: 0.791 },
      ],
      [
        { x: 0, y: 0 },
        { x: 4, y: 0.42 },
        { x: 9, y: 0.42 },
      ],
    ]);
    expect(report.verdict).toMatch(
      /from 0\.693 to 0\.791, not below ln 2 .* 42.% of them .* no gain beyond its own pairs/,
    );
    expect(reportPage(report).indexOf("no gain beyond")).toBeLessThan(reportPage(report).indexOf("<h2>"));
  });

  test("says that nothing was held out, where nothing was", () => {
    const report = runReport(run("train dpo", [step(1, { loss: 0.6, accuracy: 0.7 })]));
    expect(report.verdict).toMatch(/Nothing was measured on held-out pairs.*--eval-pairs/);
  });

  test("praises what is below ln 2", () => {
    const better = [measured(0, { loss: Math.LN2 }), step(9, { loss: 0.4 }), measured(9, { loss: 0.61 })];
    expect(runReport(run("train dpo", better)).verdict).toMatch(
      /so far, below ln 2 .*more than its own pairs/,
    );
  });
});

describe("the report of a preference model", () => {
  const first = measured(0, { "accuracy/t=0": 0.5, "accuracy/t=501": 0.4 });
  const names = (events: Event[]) =>
    runReport(run("train spm", events))
      .charts.flatMap(({ charts }) => charts)
      .find(({ title }) => title === "Accuracy by timestep")
      ?.series.map(({ name }) => name);

  test("calls nothing trained before anything is", () => {
    expect(names([first])).toEqual(["untrained"]);
    expect(names([first, step(5, {}), measured(5, { "accuracy/t=0": 0.7 })])).toEqual([
      "untrained",
      "step 5",
    ]);
  });

  test("says where the judge knows nothing", () => {
    const chance = [first, step(9, {}), measured(9, { "accuracy/t=0": 0.5 })];
    expect(runReport(run("train spm", chance)).verdict).toContain("no better than chance");
    const good = [first, step(9, {}), measured(9, { "accuracy/t=0": 0.8 })];
    expect(runReport(run("train spm", good)).verdict).not.toContain("chance");
  });
});

test("a page names its run, its date and key numbers", () => {
  const page = reportPage(runReport(run("train spo", [step(3, { loss: 0.69 })])));
  expect(page).toContain("<title>SPO training: my-run</title>");
  expect(page).toContain("Begun on 2026-11-30.");
  expect(page).toMatch(/class="big">3 of 9</);
});

test("the labels of the y axis have room, however long they are", () => {
  for (const y of [0.00002, 0.69325, 15000, 1e-7, 0.5]) {
    const points = [
      { x: 0, y },
      { x: 1, y: 1.3 * y },
    ];
    const svg = chartSvg({
      ...{ title: "t", caption: "c", kind: "line", x: { label: "x" }, y: { label: "y" } },
      series: [{ name: "s", tone: "spo", points }],
    }).text;
    const labels = [...svg.matchAll(/x="([\d.]+)" y="[\d.]+" text-anchor="end">([^<]*)</g)];
    expect(labels.length).toBeGreaterThan(2);
    // Half a letter's height is the least that a letter is wide.
    for (const [, right, text] of labels) expect(Number(right)).toBeGreaterThan((text as string).length * 8);
  }
});

test("the essence of a quickstart is a table that fits into 80 columns", () => {
  const estimate = { value: -0.741, low: -1.23, high: -0.285 };
  const wins = { value: 0.71, low: 0.59, high: 0.82 };
  const about = { about: "", unit: "number", better: "higher", base: estimate, spo: estimate } as const;
  const data = {
    ...runReport(run("train spo", [])),
    pairCount: 240,
    measures: [
      { ...about, name: "preference model's score", wins },
      {
        ...about,
        name: "distance to real artwork",
        better: "lower",
        difference: { value: 0, low: -1, high: 1 },
      },
    ] as const,
  };
  const lines = essence(data);
  expect(lines).toHaveLength(4);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  const ends = lines.slice(1, 3).map((line) => line.indexOf("−0.741") + 6);
  expect(ends[0]).toBe(ends[1]);
  expect(lines[1]).toMatch(/71.% \(59–82.%\) +better$/);
});

describe("the report of a run with guards", () => {
  const guard = (action: "stop" | "lower"): Event => ({
    ...{ type: "guard", step: 6, action, best: 2, time },
    reason: "The held-out scores were highest at round 2.",
  });
  const events = [
    measured(0, { score: 1, heldOut: 0, "heldOut/clip": 5, saturation: 1, "norm/t=801": 1, "norm/t=1": 1 }),
    step(1, { loss: 0.6 }),
    measured(6, {
      score: 2,
      heldOut: -1,
      "heldOut/clip": 4,
      saturation: 2,
      "norm/t=801": 1.5,
      "norm/t=1": 1.1,
    }),
  ];

  test("says first that and why one stopped it, and shows what they saw", () => {
    const report = runReport(run("train spo", [...events, guard("stop")], {}));
    expect(report.verdict).toBe(
      "The guard stopped the training at 6. The held-out scores were highest at round 2. The result has the weights of 2.",
    );
    const charts = report.charts.find(({ title }) => title === "Guards")?.charts ?? [];
    expect(charts.map(({ title, series }) => [title, series[0]?.points.map(({ x, y }) => [x, y])])).toEqual([
      ["Held-out scores together", [[0, 0], [6, -1]]], // biome-ignore format: points
      ["Held-out score clip", [[0, 5], [6, 4]]], // biome-ignore format: points
      ["Norm of the predictions", [[801, 1.5], [1, 1.1]]], // biome-ignore format: points
      ["Looks of the samples", [[0, 1], [6, 2]]], // biome-ignore format: points
    ]);
  });

  test("notes where one lowered the learning rate", () => {
    const { notes } = runReport(run("train spo", [...events, guard("lower")]));
    expect(notes).toContain(
      "At 6 the guard lowered the learning rate. The held-out scores were highest at round 2.",
    );
  });
});
